//! Secrets in a plan: a reference and a keyed hash, never the value. The value is read again when it is applied, and
//! refused when it is not the one that was planned.

use crate::domain::environment::Environment;
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::object::Object;
use crate::domain::secret::{SecretRef, SecretValue};
use crate::ports::Secrets;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// Annotation that says that a Secret's `stringData` holds references.
const ANNOTATION: &str = "deployctl.dev/sealed";

/// The environment's secrets as Secret objects that hold references.
pub(super) async fn seal(env: &Environment, secrets: &dyn Secrets) -> Result<Vec<Object>, Failure> {
    let mut objects = Vec::new();
    for (name, keys) in &env.secrets {
        let mut data = Map::new();
        for (key, reference) in keys {
            let value = secrets.read(reference).await.map_err(|error| {
                Failure::new(Code(640), Exit::Preflight, format!("secret {name}, key {key}, cannot be read"))
                    .why(error.message)
                    .next(format!("provide {reference}, then run the command again"))
            })?;
            let salt = format!("{}/{}/{name}/{key}", env.application, env.name);
            data.insert(key.clone(), json!(format!("{reference}#{}", keyed_hash(&salt, &value))));
        }
        let salt = format!("{}/{}/{name}", env.application, env.name);
        objects.push(Object {
            component: None,
            origin: format!("environments/{}.yaml: secrets.{name}", env.name),
            value: json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {
                    "name": name,
                    "namespace": env.namespace,
                    "annotations": {ANNOTATION: salt},
                    "labels": {"deployctl.dev/application": env.application, "app.kubernetes.io/managed-by": "deployctl"},
                },
                "stringData": data,
            }),
        });
    }
    Ok(objects)
}

/// Fills a Secret's references in, for the one request that needs them.
pub(super) async fn open(secrets: &dyn Secrets, object: &Value) -> Result<Value, String> {
    let Some(salt) = object["metadata"]["annotations"][ANNOTATION].as_str() else {
        return Ok(object.clone());
    };
    let mut opened = object.clone();
    let Some(data) = opened.get_mut("stringData").and_then(Value::as_object_mut) else { return Ok(opened) };
    for (key, value) in data.iter_mut() {
        let text = value.as_str().unwrap_or_default();
        let (reference, hash) =
            text.rsplit_once('#').ok_or_else(|| format!("key {key} holds no reference"))?;
        let reference = SecretRef::parse(reference).ok_or_else(|| format!("key {key} holds no reference"))?;
        let secret = secrets.read(&reference).await.map_err(|error| format!("key {key}: {error}"))?;
        if keyed_hash(&format!("{salt}/{key}"), &secret) != hash {
            return Err(format!(
                "key {key}: {reference} has another value than when the plan was made; plan again"
            ));
        }
        *value = json!(secret.expose());
    }
    Ok(opened)
}

/// 16 hex digits of SHA-256 over the place and the value: tells values apart, and gives none away across places.
fn keyed_hash(salt: &str, value: &SecretValue) -> String {
    let mut hasher = Sha256::new();
    hasher.update(salt.as_bytes());
    hasher.update([0]);
    hasher.update(value.expose().as_bytes());
    hasher.finalize().iter().take(8).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::secrets::SecretError;
    use async_trait::async_trait;

    struct Fixed(&'static str);

    #[async_trait]
    impl Secrets for Fixed {
        async fn read(&self, _: &SecretRef) -> Result<SecretValue, SecretError> {
            Ok(SecretValue::new(self.0.to_owned()))
        }
    }

    #[tokio::test]
    async fn a_changed_secret_is_refused_and_an_unchanged_one_filled_in() {
        let hash = keyed_hash("shop/prod/db/PASSWORD", &SecretValue::new("hunter2".into()));
        let object = json!({
            "metadata": {"annotations": {ANNOTATION: "shop/prod/db"}},
            "stringData": {"PASSWORD": format!("${{env:PW}}#{hash}")},
        });
        let opened = open(&Fixed("hunter2"), &object).await.unwrap();
        assert_eq!(opened["stringData"]["PASSWORD"], "hunter2");
        let refused = open(&Fixed("other"), &object).await.unwrap_err();
        assert!(refused.contains("another value") && !refused.contains("other\""), "{refused}");
    }
}
