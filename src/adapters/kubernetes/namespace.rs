//! The namespace of records and leases, made on the first write.

use crate::adapters::kubernetes::request;
use crate::adapters::kubernetes::send::{Api, Patience};
use crate::ports::ClusterError;
use serde_json::json;

/// Label of everything that deployctl keeps for itself.
pub(crate) const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Its value.
pub(crate) const MANAGED_BY: &str = "deployctl";
/// Label whose value is the application.
pub(crate) const LABEL_APPLICATION: &str = "deployctl.dev/application";
/// Label whose value is the environment.
pub(crate) const LABEL_ENVIRONMENT: &str = "deployctl.dev/environment";

/// Makes the namespace; that somebody else made it is fine.
pub(crate) async fn ensure(api: &Api, namespace: &str, patience: Patience) -> Result<(), ClusterError> {
    let object = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": namespace,
            "labels": {
                LABEL_MANAGED_BY: MANAGED_BY,
                // A restored backup must not bring back an old lock or an old journal.
                "velero.io/exclude-from-backup": "true",
            },
        },
    });
    // Twice is harmless: the second is told that it exists.
    let call = request::create("/api/v1/namespaces", &object);
    match api.call(&call, patience).await {
        Ok(_) | Err(ClusterError::Conflict { .. }) => Ok(()),
        Err(ClusterError::Forbidden { message }) => Err(ClusterError::Forbidden {
            message: format!("the namespace {namespace} is missing and we may not create it: {message}"),
        }),
        Err(error) => Err(error),
    }
}

/// A part of an object's name: a DNS label without dots (which separate parts). What does not fit is replaced and
/// made unique by a hash; so is what looks as if it had been.
pub(crate) fn dns_part(text: &str, longest: usize) -> String {
    let plain = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.is_empty()
        && text.len() <= longest
        && !text.starts_with('-')
        && !text.ends_with('-')
        && !looks_hashed(text);
    if plain {
        return text.to_owned();
    }
    let hash = &hex_sha256(text.as_bytes())[..HASH];
    let cleaned: String = text
        .bytes()
        .map(|b| b.to_ascii_lowercase())
        .map(|b| if b.is_ascii_lowercase() || b.is_ascii_digit() { char::from(b) } else { '-' })
        .take(longest - HASH - 2)
        .collect();
    format!("{}-x{hash}", cleaned.trim_start_matches('-')).trim_start_matches('-').to_owned()
}

const HASH: usize = 16;

fn looks_hashed(text: &str) -> bool {
    text.len() > HASH
        && text.as_bytes()[text.len() - HASH - 1] == b'x'
        && text.bytes().rev().take(HASH).all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// SHA-256 as 64 hexadecimal digits.
pub(crate) fn hex_sha256(bytes: &[u8]) -> String {
    use sha2::{Digest as _, Sha256};
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_stay_apart() {
        assert_eq!(dns_part("kva-api", 63), "kva-api");
        let odd =
            ["", "A", "a", "a.b", "a-b", "-a", "a-", "a_b", "ü", "a b", "x0123456789abcdef", "--", "a/b"];
        let mut seen = std::collections::BTreeSet::new();
        for text in odd.iter().map(|s| (*s).to_owned()).chain([String::from("long-").repeat(50)]) {
            let part = dns_part(&text, 63);
            assert!(part.len() <= 63 && !part.is_empty(), "{text}: {part}");
            assert!(
                part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
                "{part}"
            );
            assert!(!part.starts_with('-') && !part.ends_with('-'), "{part}");
            // A name that was made cannot be asked for by its looks.
            assert!(seen.insert(part.clone()), "{text}: {part} twice");
            if part != text {
                assert_ne!(dns_part(&part, 63), part);
            }
        }
    }
}
