//! A value that must never be seen: no `Debug` of its content, no `Display`, no `Serialize`.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::{PoisonError, RwLock};

/// Shortest text that is looked for in what others say: a shorter one would be found in every second word.
const SHORTEST: usize = 6;
/// Where an image-pull Secret keeps its content.
const DOCKER: &str = ".dockerconfigjson";
/// What stands in its place.
pub const HIDDEN: &str = "[hidden]";

/// Every form of every secret that this process has read.
static KNOWN: RwLock<BTreeSet<String>> = RwLock::new(BTreeSet::new());

/// Takes a text to be a secret from now on: [`redact`] finds it in what servers, pods and routers say.
pub fn conceal(text: &str) {
    let lines = text.lines().map(str::trim).filter(|line| line.len() >= 2 * SHORTEST && *line != text);
    let forms: Vec<String> = std::iter::once(text).chain(lines).flat_map(forms).collect();
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    known.extend(forms.into_iter().filter(|form| form.len() >= SHORTEST));
}

/// Takes what a Secret's manifest holds to be secret, unless it only refers to values.
pub fn conceal_manifest(secret: &serde_json::Value) {
    let texts = |field: &str| secret[field].as_object().into_iter().flatten().filter_map(|(_, v)| v.as_str());
    for text in texts("stringData").filter(|text| !text.starts_with("${")) {
        conceal(text);
    }
    for text in texts("data") {
        match STANDARD.decode(text.trim()).map(String::from_utf8) {
            Ok(Ok(plain)) => conceal(&plain),
            _ => conceal(text),
        }
    }
    let pull = secret["data"][DOCKER].as_str().and_then(|text| STANDARD.decode(text.trim()).ok());
    let pull = pull.or_else(|| secret["stringData"][DOCKER].as_str().map(|text| text.as_bytes().to_vec()));
    if let Some(config) = pull.and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok()) {
        conceal_registries(&config);
    }
}

/// What a container runtime's configuration of registries keeps secret: passwords, tokens, and `NAME:PASSWORD` in base64.
fn conceal_registries(config: &serde_json::Value) {
    let registries = config["auths"].as_object().into_iter().flatten();
    for (name, value) in registries.filter_map(|(_, registry)| registry.as_object()).flatten() {
        let Some(text) = value.as_str().filter(|_| !matches!(name.as_str(), "username" | "email")) else {
            continue;
        };
        conceal(text);
        if let Ok(Ok(pair)) = STANDARD.decode(text).map(String::from_utf8) {
            conceal(pair.split_once(':').map_or(&pair, |(_, password)| password));
        }
    }
}

/// Whether a Secret's manifest holds values, and not references to them alone.
#[must_use]
pub fn is_open(secret: &serde_json::Value) -> bool {
    let texts = |field: &str| secret[field].as_object().into_iter().flatten().filter_map(|(_, v)| v.as_str());
    texts("data").any(|text| !text.is_empty())
        || texts("stringData").any(|text| !text.is_empty() && !text.starts_with("${"))
}

/// Takes the name and password in a URL to be secret.
pub fn conceal_url(url: &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if let Some((userinfo, _)) = authority.rsplit_once('@') {
        conceal(userinfo);
        conceal(userinfo.split_once(':').map_or(userinfo, |(_, password)| password));
    }
}

/// How a text can look in what others say: as it is, in JSON, in a URL, in base64.
fn forms(text: &str) -> Vec<String> {
    let trimmed = text.trim_end();
    let json = serde_json::Value::from(trimmed).to_string();
    let mut url = String::new();
    for byte in trimmed.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            url.push(byte.into());
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
    }
    let mut forms = vec![trimmed.to_owned(), json[1..json.len() - 1].to_owned(), url];
    for text in [text, trimmed] {
        forms.extend([STANDARD.encode(text), URL_SAFE.encode(text)]);
        forms.extend([STANDARD_NO_PAD.encode(text), URL_SAFE_NO_PAD.encode(text)]);
    }
    forms
}

/// What somebody else said (a server's refusal, a container's log, an event), less the secrets that this process knows.
#[must_use]
pub fn redact(text: &str) -> Cow<'_, str> {
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    let mut found: Vec<&String> = known.iter().filter(|form| text.contains(form.as_str())).collect();
    // A longer one may hold a shorter one.
    found.sort_by_key(|form| std::cmp::Reverse(form.len()));
    found.into_iter().fold(Cow::Borrowed(text), |text, form| Cow::Owned(text.replace(form.as_str(), HIDDEN)))
}

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
        conceal(&text);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_say_of_a_secret_is_hidden_in_every_form() {
        let _ = SecretValue::new("k\"9 pass/word+\n".to_owned());
        conceal("-----BEGIN-----\nMIIEowIBAAKCAQEA7\n-----END-----\n");
        conceal_url("http://ana:s3cr3t-of-ana@prometheus:9090/x?y=z@w");
        for said in [
            "k\"9 pass/word+",
            r#"k\"9 pass/word+"#,
            "k%229%20pass%2Fword%2B",
            "ayI5IHBhc3Mvd29yZCsK",
            "ayI5IHBhc3Mvd29yZCs=",
            "ayI5IHBhc3Mvd29yZCs",
            "MIIEowIBAAKCAQEA7",
            "s3cr3t-of-ana",
        ] {
            assert_eq!(redact(&format!("<{said}>")), format!("<{HIDDEN}>"), "{said}");
        }
        conceal("short");
        assert_eq!(redact("a short text"), "a short text");
    }
}
