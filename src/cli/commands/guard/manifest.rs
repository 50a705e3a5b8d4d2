//! `deployctl guard ENV --manifest`: a guard inside the cluster that it watches.

use super::rights::Rights;
use crate::cli::CliError;
use crate::cli::args::{GuardArgs, ReleaseArgs};
use crate::cli::session::{Session, Wanted};
use crate::domain::environment::{Environment, Target, TrafficClass};
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::object::Object;
use crate::domain::units::human;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::time::Duration;

/// Where the environment file is mounted.
const ROOT: &str = "/etc/deployctl";
/// What the guard writes its sign of life into.
const HEARTBEAT: &str = "/run/deployctl/heartbeat";
/// How long a guard that is to end may go on with what it has begun, beyond the time that pods may take to get ready.
const GRACE: Duration = Duration::from_mins(2);

pub fn print(session: &Session, args: &GuardArgs) -> Result<Exit, CliError> {
    let wanted = session.wanted(&args.place.env, &args.place.targets, &ReleaseArgs::default())?;
    let env = &wanted.env;
    let [target] = env.targets.as_slice() else {
        let names = env.targets.iter().map(|target| target.id.to_string()).collect::<Vec<_>>();
        return Err(Failure::new(
            Code(660),
            Exit::Usage,
            "each cluster has a guard of its own: name one target",
        )
        .why(format!("{} has: {}", env.name, names.join(", ")))
        .next(format!("deployctl guard {} --manifest --target {}", env.name, names[0]))
        .into());
    };
    let Some(image) = env.guard.as_ref().and_then(|guard| guard.image.as_deref()) else {
        return Err(Failure::new(
            Code(660),
            Exit::Usage,
            format!("{} names no image for its guard", env.name),
        )
        .next("set `guard: {image: registry.example.com/tools/deployctl:1.0.0}`")
        .into());
    };
    let mut text = String::new();
    for object in objects(&wanted, target, image)? {
        let yaml = yaml(&object)?;
        let _ = writeln!(text, "---\n{}", yaml.trim_end());
    }
    session.print(&text);
    Ok(Exit::Done)
}

fn yaml(value: &Value) -> Result<String, Failure> {
    serde_saphyr::to_string(value).map_err(|error| {
        Failure::new(Code(1), Exit::Internal, "the guard's objects cannot be printed").why(error.to_string())
    })
}

fn objects(wanted: &Wanted, target: &Target, image: &str) -> Result<Vec<Value>, Failure> {
    let env = &wanted.env;
    let name = format!("deployctl-guard-{}-{}", env.application, env.name);
    let labels = json!({
        "app.kubernetes.io/name": "deployctl-guard",
        "app.kubernetes.io/managed-by": "deployctl",
        "app.kubernetes.io/instance": name,
    });
    let meta = |namespace: &str| json!({"name": name, "namespace": namespace, "labels": labels});
    let state = env.state_namespace.as_str();
    let rendered: &[Object] = wanted.rendered.get(&target.id).map_or(&[], Vec::as_slice);
    let mut all = vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": state}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta(state)}),
    ];
    for (namespace, rules) in Rights::of(env, rendered).rules() {
        all.push(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta(&namespace), "rules": rules,
        }));
        all.push(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": meta(&namespace),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": state}],
        }));
    }
    all.push(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": meta(state),
        "data": {"environment.yaml": yaml(&environment(env, target))?},
    }));
    let pod = pod(env, target, image, &name);
    all.push(json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta(state),
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app.kubernetes.io/instance": name}},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }));
    Ok(all)
}

/// The environment as far as a guard needs it: names, and how long it waits. Neither values nor references to secrets.
fn environment(env: &Environment, target: &Target) -> Value {
    let components = env.components.iter().map(|component| {
        let image = json!({"image": component.image});
        (component.id.to_string(), image)
    });
    let after = env.guard.as_ref().map(|guard| guard.after).unwrap_or_default();
    json!({
        "application": env.application,
        "namespace": env.namespace,
        "state_namespace": env.state_namespace,
        "targets": {target.id.as_str(): {
            "cluster": {"context": "in-cluster"},
            "traffic": if target.traffic == TrafficClass::Live { "live" } else { "none" },
        }},
        "components": components.collect::<Map<_, _>>(),
        "limits": {"lease": human(env.limits.lease)},
        "guard": {"after": human(after)},
    })
}

fn pod(env: &Environment, target: &Target, image: &str, name: &str) -> Value {
    let command = |more: &[&str]| {
        let base = [
            "deployctl",
            "-C",
            ROOT,
            "guard",
            env.name.as_str(),
            "--target",
            target.id.as_str(),
            "--heartbeat-file",
            HEARTBEAT,
        ];
        base.iter().chain(more).copied().map(str::to_owned).collect::<Vec<String>>()
    };
    let probe = |period: u32, failures: u32| {
        json!({"exec": {"command": command(&["--check"])}, "periodSeconds": period, "timeoutSeconds": 5,
               "failureThreshold": failures})
    };
    json!({
        "serviceAccountName": name,
        "terminationGracePeriodSeconds": (env.limits.ready + GRACE).as_secs(),
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [{
            "name": "guard",
            "image": image,
            "command": command(&["--in-cluster", "--output", "json"]),
            "securityContext": {
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            },
            "resources": {
                "requests": {"cpu": "10m", "memory": "32Mi"},
                "limits": {"cpu": "500m", "memory": "256Mi"},
            },
            "startupProbe": probe(2, 30),
            "livenessProbe": probe(30, 3),
            "readinessProbe": probe(10, 1),
            "volumeMounts": [
                {"name": "environment", "mountPath": format!("{ROOT}/environments"), "readOnly": true},
                {"name": "run", "mountPath": "/run/deployctl"},
            ],
        }],
        "volumes": [
            {"name": "environment", "configMap": {
                "name": name,
                "items": [{"key": "environment.yaml", "path": format!("{}.yaml", env.name)}],
            }},
            {"name": "run", "emptyDir": {"sizeLimit": "1Mi"}},
        ],
    })
}
