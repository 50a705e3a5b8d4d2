//! A value that must never be seen: no `Debug` of its content, no `Display`, no `Serialize`.

use secrecy::{ExposeSecret, SecretString};

/// Where a secret value is to be read from, e.g. `${env:DB_PASSWORD}`; the reference itself is no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// `${env:NAME}`: an environment variable of the process.
    Env(String),
    /// `${file:PATH}`: a file's content, one trailing newline dropped.
    File(String),
    /// `${aws-sm:NAME#KEY}`: AWS Secrets Manager (no adapter yet).
    AwsSecretsManager {
        /// The secret's name or ARN.
        name: String,
        /// The key inside the secret's JSON.
        key: Option<String>,
    },
}

impl SecretRef {
    /// Reads `${env:X}`, `${file:…}` or `${aws-sm:name#key}`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let inner = text.strip_prefix("${")?.strip_suffix('}')?;
        let (source, rest) = inner.split_once(':')?;
        match source {
            "env" => Some(Self::Env(rest.to_owned())),
            "file" => Some(Self::File(rest.to_owned())),
            "aws-sm" => {
                let (name, key) = rest.split_once('#').map_or((rest, None), |(name, key)| (name, Some(key)));
                Some(Self::AwsSecretsManager { name: name.to_owned(), key: key.map(str::to_owned) })
            }
            _ => None,
        }
    }
}

impl std::fmt::Display for SecretRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Env(name) => write!(f, "${{env:{name}}}"),
            Self::File(path) => write!(f, "${{file:{path}}}"),
            Self::AwsSecretsManager { name, key: None } => write!(f, "${{aws-sm:{name}}}"),
            Self::AwsSecretsManager { name, key: Some(key) } => write!(f, "${{aws-sm:{name}#{key}}}"),
        }
    }
}

/// A secret as read at apply time.
#[derive(Clone)]
pub struct SecretValue(SecretString);

impl SecretValue {
    /// Takes ownership of a secret text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(SecretString::from(text))
    }

    /// The text itself: only for the request that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl std::fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretValue(redacted)")
    }
}
