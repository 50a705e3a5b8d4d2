//! Secrets from the process's environment and from files.

use crate::domain::secret::{SecretRef, SecretValue};
use crate::ports::secrets::{SecretError, Secrets};
use async_trait::async_trait;

/// Reads `${env:X}` and `${file:…}`.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalSecrets;

#[async_trait]
impl Secrets for LocalSecrets {
    async fn read(&self, reference: &SecretRef) -> Result<SecretValue, SecretError> {
        let value = match reference {
            SecretRef::Env(name) => std::env::var(name).map_err(|_| SecretError {
                message: format!("the environment variable {name} is not set"),
            })?,
            SecretRef::File(path) => {
                let text = tokio::fs::read_to_string(path)
                    .await
                    .map_err(|error| SecretError { message: format!("{path}: {error}") })?;
                text.strip_suffix('\n').map_or(text.clone(), str::to_owned)
            }
            SecretRef::AwsSecretsManager { name, .. } => {
                return Err(SecretError {
                    message: format!(
                        "aws-sm:{name}: AWS Secrets Manager cannot be read yet; use env or file"
                    ),
                });
            }
        };
        Ok(SecretValue::new(value))
    }
}
