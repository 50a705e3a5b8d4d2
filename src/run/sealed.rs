//! Secrets in a plan: a reference and a keyed hash, never the value. The value is read again when it is applied, and
//! refused when it is not the one that was planned.

use super::world::World;
use crate::domain::environment::Environment;
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::object::Object;
use crate::domain::secret::{SecretRef, SecretValue};
use crate::plan::{Action, Plan};
use crate::ports::Secrets;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
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

/// Why a sealed Secret cannot be filled in.
enum Closed {
    /// It was not sealed by us.
    Strange { key: String },
    /// The value cannot be had.
    Unread { key: String, reference: SecretRef, why: String },
    /// The value is another one.
    Changed { key: String, reference: SecretRef },
}

impl Closed {
    fn reference(&self) -> Option<&SecretRef> {
        match self {
            Self::Strange { .. } => None,
            Self::Unread { reference, .. } | Self::Changed { reference, .. } => Some(reference),
        }
    }

    /// As somebody reads it who has not begun anything yet.
    fn told(&self) -> String {
        match self {
            Self::Changed { key, reference } => format!("key {key}: {reference} has another value now"),
            Self::Strange { .. } | Self::Unread { .. } => self.to_string(),
        }
    }
}

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Strange { key } => write!(f, "key {key} holds no reference"),
            Self::Unread { key, why, .. } => write!(f, "key {key}: {why}"),
            Self::Changed { key, reference } => {
                write!(f, "key {key}: {reference} has another value than when the plan was made; plan again")
            }
        }
    }
}

/// Fills a Secret's references in, for the one request that needs them.
pub(super) async fn open(secrets: &dyn Secrets, object: &Value) -> Result<Value, String> {
    fill(secrets, object).await.map_err(|closed| closed.to_string())
}

/// Refuses, before anybody is asked, to bring a release back whose Secrets would have to be made from values that are no
/// longer to be had: those that are live stay as they are and need none.
///
/// # Errors
/// A value is another one by now, or cannot be read.
pub async fn openable(world: &World, plan: &Plan) -> Result<(), Failure> {
    let Some(to) = plan.rollback_of else { return Ok(()) };
    let (mut whys, mut wanted) = (Vec::new(), BTreeSet::new());
    for (target, own) in &plan.targets {
        let made = own.changes.iter().filter(|change| {
            change.object.kind == "Secret" && !matches!(change.action, Action::Keep | Action::Delete)
        });
        for change in made {
            let mut objects = own.inventory.iter().map(|index| &plan.objects[*index]);
            let Some(object) = objects.find(|object| object.reference() == change.object) else { continue };
            if let Err(closed) = fill(world.secrets.as_ref(), &object.value).await {
                let lacks = if change.action == Action::Create { "is gone and" } else { "differs and" };
                whys.push(format!(
                    "{target}: {} {lacks} has to be made anew; {}",
                    change.object,
                    closed.told()
                ));
                wanted.extend(closed.reference().map(ToString::to_string));
            }
        }
    }
    if whys.is_empty() {
        return Ok(());
    }
    let what = format!("{} ({to}) cannot be brought back: its secrets are not to be had", plan.version);
    let failure = whys.into_iter().fold(Failure::new(Code(641), Exit::Preflight, what), Failure::why);
    let failure = wanted.into_iter().fold(failure, |failure, reference| {
        failure.next(format!(
            "provide {reference} with the value that it had for {to}, then the same command again"
        ))
    });
    let env = &plan.environment;
    Err(failure.next(format!("deployctl rollback {env} --to N, another of: deployctl history {env}")))
}

async fn fill(secrets: &dyn Secrets, object: &Value) -> Result<Value, Closed> {
    let Some(salt) = object["metadata"]["annotations"][ANNOTATION].as_str() else {
        return Ok(object.clone());
    };
    let mut opened = object.clone();
    let Some(data) = opened.get_mut("stringData").and_then(Value::as_object_mut) else { return Ok(opened) };
    for (key, value) in data.iter_mut() {
        let text = value.as_str().unwrap_or_default();
        let key = key.clone();
        let sealed =
            text.rsplit_once('#').and_then(|(reference, hash)| Some((SecretRef::parse(reference)?, hash)));
        let Some((reference, hash)) = sealed else { return Err(Closed::Strange { key }) };
        let secret = match secrets.read(&reference).await {
            Ok(secret) => secret,
            Err(error) => return Err(Closed::Unread { key, reference, why: error.to_string() }),
        };
        if keyed_hash(&format!("{salt}/{key}"), &secret) != hash {
            return Err(Closed::Changed { key, reference });
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
