//! Secrets on their way into a request, and kept out of every message.

use crate::domain::metric_store::{Part, SecretText};
use crate::domain::secret::{SecretRef, SecretValue};
use crate::ports::Secrets;
use crate::ports::metrics::MetricsError;
use http::HeaderValue;

/// Shortest value that is looked for in messages: a shorter one would tear up ordinary words.
const SHORTEST: usize = 4;

/// Reads secrets for one request and remembers them, so that none of them is ever repeated.
pub(crate) struct Revealed<'s> {
    secrets: &'s dyn Secrets,
    seen: Vec<SecretValue>,
}

impl<'s> Revealed<'s> {
    pub fn new(secrets: &'s dyn Secrets) -> Self {
        Self { secrets, seen: Vec::new() }
    }

    /// One secret; white space around it is no part of it, since files end with a line break.
    pub async fn read(&mut self, what: &str, reference: &SecretRef) -> Result<SecretValue, MetricsError> {
        let value = self.secrets.read(reference).await.map_err(|error| MetricsError::Denied {
            message: format!("{what} cannot be read: {}", error.message),
        })?;
        let value = SecretValue::new(value.expose().trim().to_owned());
        self.seen.push(value.clone());
        Ok(value)
    }

    /// A text from which a secret could be read off: it is kept out of messages too.
    pub fn remember(&mut self, text: &str) {
        self.seen.push(SecretValue::new(text.to_owned()));
    }

    /// A header's value with the secrets in it.
    pub async fn header(&mut self, name: &str, text: &SecretText) -> Result<HeaderValue, MetricsError> {
        let mut whole = String::new();
        let mut secret = false;
        for part in text.parts() {
            match part {
                Part::Text(text) => whole.push_str(&text),
                Part::Secret(Ok(reference)) => {
                    secret = true;
                    whole.push_str(self.read(&format!("the header {name}"), &reference).await?.expose());
                }
                Part::Secret(Err(text)) => {
                    let message = format!("the header {name}: `{text}` is no reference to a secret");
                    return Err(MetricsError::Refused { message });
                }
            }
        }
        sent(name, &whole, secret)
    }

    /// An error without any of the secrets that were read.
    pub fn without(&self, error: MetricsError) -> MetricsError {
        match error {
            MetricsError::Down { message } => MetricsError::Down { message: self.hide(message) },
            MetricsError::Denied { message } => MetricsError::Denied { message: self.hide(message) },
            MetricsError::Refused { message } => MetricsError::Refused { message: self.hide(message) },
        }
    }

    fn hide(&self, message: String) -> String {
        let values = self.seen.iter().map(SecretValue::expose).filter(|value| value.len() >= SHORTEST);
        values.fold(message, |message, value| message.replace(value, "***"))
    }
}

/// A header's value; no message repeats it.
pub(crate) fn sent(name: &str, value: &str, secret: bool) -> Result<HeaderValue, MetricsError> {
    let mut value = HeaderValue::from_str(value).map_err(|_| MetricsError::Denied {
        message: format!(
            "the header {name} cannot be sent: it has a line break or another control character"
        ),
    })?;
    value.set_sensitive(secret);
    Ok(value)
}
