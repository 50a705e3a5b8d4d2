//! The state that each recorded exchange was recorded in, set up from the recording itself.

use deployctl::sim::kube::host::Identity;
use serde_json::{Value, json};

use super::support::Server;

/// Brings a server into the state before an exchange; returns the request to send.
pub fn set_up(server: &mut Server, case: &str, exchanges: &[Value]) -> Value {
    let exchange = |name: &str| {
        exchanges.iter().find(|one| one["case"] == name).unwrap_or_else(|| panic!("no case {name}"))
    };
    let body = |name: &str| exchange(name)["response"]["body"].clone();
    let mut request = exchange(case)["request"].clone();
    match case {
        "unauthorized" => server.identity = Identity::unauthenticated(),
        "forbidden" => server.identity = Identity::denied("viewer", &[("*", "*", "secrets", "*")]),
        "selfsubjectaccessreview-denied" => {
            server.identity = Identity::denied("viewer", &[("patch", "*", "*", "*")]);
        }
        "namespace-create" => {
            let key = deployctl::sim::kube::store::Key::new(
                deployctl::sim::kube::store::KindId::NAMESPACES,
                "",
                "golden",
            );
            server.store().finalize_namespace(&key.name);
        }
        "lease-create-again" | "lease-take" | "lease-take-stale" => lease(server, case, &body, &mut request),
        "secret-too-large" => {
            request["body"] = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "big"},
                "data": {"a": "QUFB".repeat(400_000)}});
        }
        "request-too-large" => {
            request["body"] = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "big"},
                "data": {"a": "x".repeat(4_000_000)}});
        }
        "eviction-blocked-by-pdb" => eviction(server, &body, &request),
        "crd-get-established" | "cr-ssa-create" => {
            server.load_crd(&exchange("crd-create")["request"]["body"]);
        }
        "quota-exceeded"
        | "pss-restricted-denies-pod"
        | "namespace-delete"
        | "create-in-terminating-namespace" => {
            namespace_state(server, case, &body);
        }
        "watch-expired" | "watch-too-old" | "list-exact-expired" => {
            for name in ["a", "b", "c"] {
                server.load(&json!({"apiVersion": "v1", "kind": "ConfigMap",
                    "metadata": {"name": name, "namespace": "default"}}));
            }
            server.store().compact();
            request["path"] = request["path"]
                .as_str()
                .expect("a path")
                .replace("resourceVersion=5", "resourceVersion=2")
                .into();
        }
        "list-continue-expired" => continued(server, &body(case), &mut request),
        "unschedulable-pod" => server.load(&body(case)),
        "unschedulable-events" | "label-selector" | "metadata-only" | "field-selector" | "nodes" => {
            load_list(server, case, &body(case), &body);
        }
        _ => deployments(server, case, &body),
    }
    request
}

impl Server {
    /// Creates a CRD as its request did, so that it is established.
    fn load_crd(&self, crd: &Value) {
        let kind = deployctl::sim::kube::store::KindId::CUSTOM_RESOURCE_DEFINITIONS;
        self.store().create(super::support::start(), "kubectl", kind, crd.clone()).expect("a CRD");
    }
}

/// The deployments and stateful sets as they were before each change.
fn deployments(server: &mut Server, case: &str, body: &dyn Fn(&str) -> Value) {
    match case {
        "ssa-no-op" => server.load(&body(case)),
        "ssa-update-image" => server.load(&body("ssa-no-op")),
        "ssa-update-missing-image" | "ssa-update-crash" => {
            server.load(&before_image(&body(case), "shop/api:v2"));
        }
        "ssa-back" => server.load(&before_image(&body(case), "shop/api:missing")),
        "ssa-back-2" => server.load(&before_image(&body(case), "shop/api:crash")),
        "scale-get" | "scale-patch" => {
            let mut object = body("ssa-back-2");
            object["status"]["replicas"] = 3.into();
            server.load(&object);
        }
        "ssa-conflict-replicas" | "ssa-conflict-forced" => server.load(&scaled(body("ssa-conflict-forced"))),
        "ssa-other-manager-label" => server.load(&body("ssa-conflict-forced")),
        "ssa-drop-field-removes-it" => server.load(&body("ssa-other-manager-label")),
        "strict-unknown-field"
        | "warn-unknown-field"
        | "invalid-spec"
        | "immutable-selector"
        | "put-conflict"
        | "json-patch-test-fails"
        | "table"
        | "delete-background" => {
            let mut object = body("ssa-drop-field-removes-it");
            if case == "table" {
                object = table_row(&object, &body(case));
            }
            server.load(&object);
        }
        "strategic-merge-patch" => {
            let mut object = body(case);
            let container = &mut object["spec"]["template"]["spec"]["containers"][0];
            container.as_object_mut().expect("a container").remove("env");
            object["metadata"]["generation"] = 9.into();
            let entries = object["metadata"]["managedFields"].as_array_mut().expect("entries");
            entries[1]["fieldsV1"].as_object_mut().expect("fields").remove("f:spec");
            server.load(&object);
        }
        "sts-update-partition" | "sts-update-all" | "sts-update-crash" => stateful_set(server, case, body),
        "ds-update" => {
            let mut object = before_image(&body(case), "shop/agent:v1");
            object["metadata"]["annotations"]["deprecated.daemonset.template.generation"] = "1".into();
            server.load(&object);
        }
        "hpa-touch" => {
            let mut object = body(case);
            object["metadata"].as_object_mut().expect("metadata").remove("annotations");
            let entries = object["metadata"]["managedFields"].as_array_mut().expect("entries");
            entries[1]["fieldsV1"].as_object_mut().expect("fields").remove("f:metadata");
            server.load(&object);
        }
        "delete-foreground" => {
            let mut object = body(case);
            let metadata = object["metadata"].as_object_mut().expect("metadata");
            for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "finalizers"] {
                metadata.remove(field);
            }
            metadata.insert("generation".into(), 1.into());
            server.load(&object);
        }
        _ => {}
    }
}

fn stateful_set(server: &mut Server, case: &str, body: &dyn Fn(&str) -> Value) {
    let before = match case {
        "sts-update-partition" => "sts-create",
        "sts-update-all" => "sts-update-partition",
        _ => "sts-update-all",
    };
    let mut object = body(case);
    object["spec"] = body(before)["spec"].clone();
    let generation = object["metadata"]["generation"].as_i64().expect("a generation");
    object["metadata"]["generation"] = (generation - 1).into();
    server.load(&object);
}

/// The object as it was before its image and generation changed.
fn before_image(after: &Value, image: &str) -> Value {
    let mut before = after.clone();
    before["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
    let generation = after["metadata"]["generation"].as_i64().expect("a generation");
    before["metadata"]["generation"] = (generation - 1).into();
    before
}

/// The deployment after somebody else scaled it.
fn scaled(mut object: Value) -> Value {
    object["spec"]["replicas"] = 5.into();
    object["metadata"]["generation"] = 7.into();
    let entries = object["metadata"]["managedFields"].as_array_mut().expect("entries");
    entries[0]["fieldsV1"]["f:spec"].as_object_mut().expect("fields").remove("f:replicas");
    entries.push(json!({"manager": "kubectl", "operation": "Update", "apiVersion": "apps/v1",
        "time": "2026-11-21T03:16:40Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}},
        "subresource": "scale"}));
    object
}

fn table_row(object: &Value, table: &Value) -> Value {
    let mut object = object.clone();
    object["metadata"] = table["rows"][0]["object"]["metadata"].clone();
    object["status"]["readyReplicas"] = 2.into();
    object["status"]["updatedReplicas"] = 1.into();
    object["status"]["availableReplicas"] = 2.into();
    object
}

fn lease(server: &Server, case: &str, body: &dyn Fn(&str) -> Value, request: &mut Value) {
    server.load(&body("lease-create"));
    let version = server.store().version();
    if case == "lease-take" {
        request["body"]["metadata"]["resourceVersion"] = version.to_string().into();
    }
}

fn eviction(server: &Server, body: &dyn Fn(&str) -> Value, request: &Value) {
    let name = request["body"]["metadata"]["name"].clone();
    server.load(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "golden",
        "labels": {"app": "api"}}, "spec": {}, "status": {"phase": "Running"}}));
    let mut budget = body("pdb-create");
    budget["status"] = json!({"disruptionsAllowed": 0, "currentHealthy": 2, "desiredHealthy": 2,
        "expectedPods": 2, "observedGeneration": 1});
    server.load(&budget);
}

fn namespace_state(server: &Server, case: &str, body: &dyn Fn(&str) -> Value) {
    let mut namespace = body("namespace-delete");
    if case != "create-in-terminating-namespace" {
        namespace["metadata"].as_object_mut().expect("metadata").remove("deletionTimestamp");
        namespace["status"]["phase"] = "Active".into();
    }
    if case == "pss-restricted-denies-pod" {
        namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = "restricted".into();
    }
    server.load(&namespace);
    if case == "quota-exceeded" {
        server.load(&body("quota-create"));
        for name in ["kube-root-ca.crt", "c1"] {
            server.load(&json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": name, "namespace": "golden"}}));
        }
    }
}

fn load_list(server: &Server, case: &str, list: &Value, recorded: &dyn Fn(&str) -> Value) {
    let kind = list["kind"].as_str().expect("a kind").trim_end_matches("List");
    for item in list["items"].as_array().expect("items") {
        let mut object = item.clone();
        if case == "metadata-only" {
            object = recorded("label-selector")["items"][0].clone();
            object["metadata"] = item["metadata"].clone();
        }
        object["apiVersion"] =
            if matches!(case, "label-selector" | "metadata-only") { json!("apps/v1") } else { json!("v1") };
        object["kind"] = if case == "metadata-only" { json!("Deployment") } else { json!(kind) };
        server.load(&object);
    }
    let mut template = list["items"][0].clone();
    template["apiVersion"] = json!("v1");
    template["kind"] = json!(kind);
    let others: Vec<String> = match case {
        "nodes" => (1..6).map(|index| format!("node-{index}")).collect(),
        "field-selector" => vec!["zzz".to_owned()],
        _ => Vec::new(),
    };
    for name in others {
        template["metadata"]["name"] = name.into();
        server.load(&template);
    }
}

/// Forty config maps, and the token of a page that ended before the recorded one.
fn continued(server: &Server, list: &Value, request: &mut Value) {
    for item in list["items"].as_array().expect("items") {
        let mut object = item.clone();
        object["apiVersion"] = json!("v1");
        object["kind"] = json!("ConfigMap");
        server.load(&object);
    }
    for index in 0..22 {
        server.load(&json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": format!("x2{index:02}"), "namespace": "default"}}));
    }
    server.load(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x11", "namespace": "default"}}));
    let version = server.store().version();
    let token = json!({"v": "meta.k8s.io/v1", "rv": version, "start": "x11\0"}).to_string();
    let token = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, token);
    request["path"] = format!("/api/v1/namespaces/default/configmaps?limit=5&continue={token}").into();
}
