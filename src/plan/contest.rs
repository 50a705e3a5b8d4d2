//! Fields that a release sets and somebody else owns: what is left to a controller, what is taken, what must be decided.

use crate::domain::field_path;
use crate::domain::object::{FIELD_MANAGER, ObjectRef};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// One field that two want.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contest {
    /// Who owns it: a field manager, with the subresource that it wrote through.
    pub who: String,
    /// When they last wrote, as the server keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// `spec.replicas`.
    pub field: String,
    /// The live value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub theirs: Option<Value>,
    /// The release's value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ours: Option<Value>,
    /// Who gets it.
    pub verdict: Verdict,
}

/// Who gets a contested field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nobody said: the release is refused.
    Open,
    /// The release, because it was asked for.
    Taken,
    /// The release, because it takes the whole object over from the tool that made it.
    Adopted,
    /// The controller whose field it is.
    Left,
}

impl fmt::Display for Contest {
    /// `kubectl-edit · 2026-01-05T03:12:00Z · spec.replicas · 5 → 3`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".to_owned(), short);
        let when = self.when.as_deref().unwrap_or("time not kept");
        let (theirs, ours) = (value(&self.theirs), value(&self.ours));
        write!(f, "{} · {when} · {} · {theirs} → {ours}", self.who, self.field)
    }
}

/// Values in a report stay on one line.
fn short(value: &Value) -> String {
    const LONGEST: usize = 80;
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let line: String = text.lines().next().unwrap_or_default().chars().take(LONGEST).collect();
    if line.len() < text.len() { format!("{line}…") } else { line }
}

/// A field as the server says that somebody owns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned<'a> {
    /// The field manager.
    pub manager: &'a str,
    /// The subresource that it wrote through.
    pub subresource: &'a str,
    /// `.spec.replicas`.
    pub field: &'a str,
}

/// What is taken over on demand: `FIELD`, or `Kind/name:FIELD`; a field covers all that is in it.
#[must_use]
pub fn is_taken(take: &[String], object: &ObjectRef, field: &str) -> bool {
    take.iter().any(|wanted| match wanted.split_once(':').filter(|(name, _)| name.contains('/')) {
        Some((name, wanted)) => {
            name == object.to_string() && field_path::covers(&field_path::plain(wanted), field)
        }
        None => field_path::covers(&field_path::plain(wanted), field),
    })
}

/// Decides the contested fields of an object; those that are left to their owner are taken out of it.
pub fn settle(object: &mut Value, live: &Value, owners: &[Owned<'_>], take: &[String]) -> Vec<Contest> {
    let reference = ObjectRef::of(object);
    let adopted = !is_ours(live);
    let mut contests: Vec<Contest> = Vec::new();
    for owned in owners.iter().filter(|owned| owned.manager != FIELD_MANAGER) {
        let field = field_path::plain(owned.field);
        let verdict = if is_taken(take, &reference, &field) {
            Verdict::Taken
        } else if is_left(owned, &field) {
            Verdict::Left
        } else if adopted && is_deploy_tool(owned.manager) {
            Verdict::Adopted
        } else {
            Verdict::Open
        };
        let secret = reference.kind == "Secret";
        let shown = |value: Option<&Value>| value.filter(|_| !secret).cloned();
        contests.push(Contest {
            who: match owned.subresource {
                "" => owned.manager.to_owned(),
                subresource => format!("{} ({subresource})", owned.manager),
            },
            when: written(live, owned),
            theirs: shown(field_path::get(live, owned.field)),
            ours: shown(field_path::get(object, owned.field)),
            field,
            verdict,
        });
    }
    for owned in owners {
        let field = field_path::plain(owned.field);
        if contests.iter().any(|contest| contest.field == field && contest.verdict == Verdict::Left) {
            field_path::remove(object, owned.field);
        }
    }
    contests
}

/// Whether a controller decides the size of a workload, by what it wrote.
#[must_use]
pub fn size_is_left(live: &Value) -> bool {
    entries(live).filter(|entry| entry.pointer("/fieldsV1/f:spec/f:replicas").is_some()).any(|entry| {
        let text = |key: &str| entry[key].as_str().unwrap_or_default();
        let owned =
            Owned { manager: text("manager"), subresource: text("subresource"), field: ".spec.replicas" };
        owned.manager != FIELD_MANAGER && is_left(&owned, "spec.replicas")
    })
}

/// Whether we ever applied the object.
fn is_ours(live: &Value) -> bool {
    entries(live).any(|entry| entry["manager"] == FIELD_MANAGER && entry["operation"] == "Apply")
}

fn entries(live: &Value) -> impl Iterator<Item = &Value> {
    live.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten()
}

/// When a manager last wrote.
fn written(live: &Value, owned: &Owned<'_>) -> Option<String> {
    let own = entries(live).filter(|entry| {
        entry["manager"] == owned.manager
            && entry["subresource"].as_str().unwrap_or_default() == owned.subresource
    });
    own.filter_map(|entry| entry["time"].as_str()).max().map(str::to_owned)
}

/// Tools that put a whole object there once, as against controllers that keep writing: a release that adopts their
/// object adopts their fields.
fn is_deploy_tool(manager: &str) -> bool {
    const TOOLS: [&str; 8] =
        ["kubectl", "helm", "Helm", "kapp", "kluctl", "before-first-apply", "terraform", "Terraform"];
    TOOLS.iter().any(|tool| manager.starts_with(tool))
}

/// What people type with.
fn is_hand(manager: &str) -> bool {
    is_deploy_tool(manager)
        || ["k9s", "lens", "Lens", "node-fetch", "oc", "rancher", "Mozilla"]
            .iter()
            .any(|name| manager.starts_with(name))
}

/// Fields that are a controller's own business, whatever a manifest says.
fn is_left(owned: &Owned<'_>, field: &str) -> bool {
    let by = |names: &[&str]| names.iter().any(|name| owned.manager.contains(name));
    let size = field == "spec.replicas";
    let injected = field.ends_with(".caBundle") || field.ends_with("spec.caBundle");
    let annotation = |prefixes: &[&str]| {
        let keys = ["metadata.annotations.", "metadata.labels."];
        keys.iter()
            .any(|at| field.rsplit_once(at).is_some_and(|(_, key)| prefixes.iter().any(|p| key.contains(p))))
    };
    // An autoscaler writes through the subresource, as whatever its binary is called; so does a person's `kubectl scale`.
    (size && owned.subresource == "scale" && !is_hand(owned.manager))
        || (size
            && by(&[
                "kube-controller-manager",
                "keda",
                "horizontal-pod-autoscaler",
                "vpa-",
                "rollouts-controller",
            ]))
        || (injected
            && by(&[
                "cainjector",
                "cert-manager",
                "istiod",
                "pilot-discovery",
                "linkerd",
                "consul",
                "kyverno",
                "gatekeeper",
                "kube-webhook-certgen",
                "vpa-",
            ]))
        || (field.contains("containers[")
            && field.contains("].resources")
            && by(&["vpa-", "vertical-pod-autoscaler"]))
        || (by(&["istio", "pilot-discovery", "linkerd", "consul", "kuma", "envoy"])
            && (annotation(&["istio.io", "linkerd.io", "consul.hashicorp.com", "kuma.io"])
                || field.ends_with(".failurePolicy")))
        || (by(&["rollouts-controller", "argo-rollouts"])
            && (field.contains("rollouts-pod-template-hash") || field.ends_with(".weight")))
        || (by(&["kube-controller-manager", "cloud-controller-manager", "aws-load-balancer"])
            && annotation(&["deployment.kubernetes.io/", "pv.kubernetes.io/", "service.kubernetes.io/"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn owned<'a>(manager: &'a str, subresource: &'a str, field: &'a str) -> Owned<'a> {
        Owned { manager, subresource, field }
    }

    #[test]
    fn fields_of_controllers_are_left_to_them_and_those_of_people_are_not() {
        assert!(is_left(&owned("hpa-of-ours", "scale", ""), "spec.replicas"));
        assert!(!is_left(&owned("kubectl", "scale", ""), "spec.replicas"));
        for (manager, field, left) in [
            ("kube-controller-manager", "spec.replicas", true),
            ("keda-operator", "spec.replicas", true),
            ("kubectl", "spec.replicas", false),
            ("k9s", "spec.replicas", false),
            ("kube-controller-manager", "spec.paused", false),
            ("cainjector", "webhooks[name=a].clientConfig.caBundle", true),
            ("cainjector", "webhooks[name=a].failurePolicy", false),
            ("pilot-discovery", "webhooks[name=a].clientConfig.caBundle", true),
            ("vpa-updater", "spec.template.spec.containers[name=main].resources.requests.cpu", true),
            ("kubectl-edit", "spec.template.spec.containers[name=main].resources.requests.cpu", false),
            ("linkerd-proxy-injector", "spec.template.metadata.annotations.linkerd.io/inject", true),
        ] {
            assert_eq!(is_left(&owned(manager, "", field), field), left, "{manager} {field}");
        }
    }

    #[test]
    fn a_contest_says_who_when_and_what() {
        let mut object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"replicas": 3, "paused": false}});
        let mut live = json!({"metadata": {"managedFields": [
            {"manager": "deployctl", "operation": "Apply"},
            {"manager": "kube-controller-manager", "subresource": "scale", "operation": "Update", "time": "2026-01-05T03:00:00Z"},
            {"manager": "kubectl-edit", "operation": "Update", "time": "2026-01-05T03:12:00Z"}]},
            "spec": {"replicas": 7, "paused": true}});
        let owners = [
            owned("kube-controller-manager", "scale", ".spec.replicas"),
            owned("kubectl-edit", "", ".spec.paused"),
        ];
        let contests = settle(&mut object, &live, &owners, &[]);
        assert_eq!(
            contests.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "kube-controller-manager (scale) · 2026-01-05T03:00:00Z · spec.replicas · 7 → 3",
                "kubectl-edit · 2026-01-05T03:12:00Z · spec.paused · true → false",
            ]
        );
        assert_eq!((contests[0].verdict, contests[1].verdict), (Verdict::Left, Verdict::Open));
        assert_eq!(object["spec"], json!({"paused": false}), "what is left is not sent");
        for take in ["spec.paused", "spec", "Deployment/web:spec.paused"] {
            let contests = settle(&mut object.clone(), &live, &owners[1..], &[take.to_owned()]);
            assert_eq!(contests[0].verdict, Verdict::Taken, "{take}");
        }
        for take in ["spec.pause", "Deployment/api:spec.paused"] {
            let contests = settle(&mut object.clone(), &live, &owners[1..], &[take.to_owned()]);
            assert_eq!(contests[0].verdict, Verdict::Open, "{take}");
        }
        live["metadata"]["managedFields"][0]["manager"] = json!("kubectl-create");
        assert_eq!(settle(&mut object, &live, &owners[1..], &[])[0].verdict, Verdict::Adopted);
    }
    #[test]
    fn a_size_is_a_controllers_by_what_it_wrote() {
        let by = |manager: &str, subresource: &str, field: &str| {
            json!({"metadata": {"managedFields": [{"manager": manager, "operation": "Update",
                "subresource": subresource, "fieldsV1": {"f:spec": {field: {}}}}]}})
        };
        for (manager, subresource, field, left) in [
            ("kube-controller-manager", "scale", "f:replicas", true),
            ("keda-operator", "", "f:replicas", true),
            ("kube-controller-manager", "", "f:paused", false),
            ("kubectl", "scale", "f:replicas", false),
            ("deployctl", "scale", "f:replicas", false),
        ] {
            assert_eq!(
                size_is_left(&by(manager, subresource, field)),
                left,
                "{manager} {subresource} {field}"
            );
        }
    }
}
