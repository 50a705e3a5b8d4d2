//! What went wrong with credentials, without telling them: the library's own words repeat a plugin's environment and
//! output, tokens included.

use crate::adapters::errors::chain;
use kube::client::AuthError;

/// A line for people.
pub(crate) fn explain(error: &AuthError) -> String {
    match error {
        AuthError::AuthExecRun { out, .. } => {
            let said = String::from_utf8_lossy(&out.stderr);
            let last = said.lines().map(str::trim).rfind(|line| !line.is_empty());
            let said = last.map_or_else(String::new, |line| format!(": {line}"));
            format!("the credential plugin of the kubeconfig failed ({}){said}", out.status)
        }
        AuthError::AuthExecParse(_) | AuthError::ParseTokenKey(_) => {
            "what the credential plugin of the kubeconfig prints is not understood".to_owned()
        }
        AuthError::AuthExecStart(error) => {
            format!("the credential plugin of the kubeconfig cannot be run: {error}")
        }
        other => chain(other),
    }
}
