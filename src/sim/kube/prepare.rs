//! What the API writes into objects by itself when they are created or changed: names, addresses, labels of jobs,
//! service accounts and tolerations of pods, generations.

use serde_json::{Value, json};

use super::errors::{ApiStatus, Cause};
use super::kinds::KindId;
use super::store::Store;
use super::write::{metadata_mut, name_suffix};

impl Store {
    /// Completes an object before it is first stored.
    pub(crate) fn prepare_create(&mut self, kind: KindId, object: &mut Value) -> Result<(), ApiStatus> {
        match kind {
            KindId::NAMESPACES => {
                object["spec"]["finalizers"] = json!(["kubernetes"]);
                object["status"]["phase"] = "Active".into();
            }
            KindId::JOBS => label_job(object),
            KindId::PODS => self.prepare_pod(object),
            KindId::SERVICES => self.allocate_addresses(object)?,
            KindId::DAEMON_SETS => {
                object["metadata"]["annotations"]["deprecated.daemonset.template.generation"] = "1".into();
            }
            KindId::PERSISTENT_VOLUME_CLAIMS => {
                add_finalizer(object, "kubernetes.io/pvc-protection");
            }
            KindId::PERSISTENT_VOLUMES => add_finalizer(object, "kubernetes.io/pv-protection"),
            KindId::SECRETS => merge_string_data(object),
            _ => {}
        }
        Ok(())
    }

    fn prepare_pod(&mut self, object: &mut Value) {
        let suffix = name_suffix(self.next_random());
        let qos = qos_class(&object["spec"]);
        object["status"] = json!({"phase": "Pending", "qosClass": qos});
        let Some(spec) = object["spec"].as_object_mut() else { return };
        if !spec.contains_key("serviceAccountName") {
            spec.insert("serviceAccountName".into(), "default".into());
            spec.insert("serviceAccount".into(), "default".into());
        }
        if spec.get("automountServiceAccountToken") != Some(&Value::Bool(false)) {
            mount_token(spec, &format!("kube-api-access-{suffix}"));
        }
        let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
        for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
            let all = tolerations.as_array_mut();
            if let Some(all) = all.filter(|all| !all.iter().any(|one| one["key"] == key)) {
                all.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute",
                    "tolerationSeconds": 300}));
            }
        }
        spec.entry("priority").or_insert_with(|| 0.into());
        spec.entry("preemptionPolicy").or_insert_with(|| "PreemptLowerPriority".into());
    }

    fn allocate_addresses(&mut self, object: &mut Value) -> Result<(), ApiStatus> {
        let spec = &object["spec"];
        let ty = spec["type"].as_str().unwrap_or("ClusterIP").to_owned();
        if ty == "ExternalName" {
            return Ok(());
        }
        let asked = spec["clusterIP"].as_str().unwrap_or_default().to_owned();
        if !asked.is_empty() && asked != "None" && self.address_taken(&asked) {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let why = format!("failed to allocate IP {asked}: provided IP is already allocated");
            let cause = Cause::invalid("spec.clusterIPs", &json!([asked]), &why);
            return Err(ApiStatus::invalid(self.kind_info(KindId::SERVICES), name, &[cause]));
        }
        let address = if asked.is_empty() { self.free_address() } else { asked };
        object["spec"]["clusterIP"] = address.clone().into();
        object["spec"]["clusterIPs"] = json!([address]);
        let selector = object["spec"]["selector"].as_object().is_some_and(|selector| !selector.is_empty());
        let policy = if address == "None" && !selector { "RequireDualStack" } else { "SingleStack" };
        let spec = object["spec"].as_object_mut().expect("it was indexed above");
        spec.entry("ipFamilies").or_insert_with(|| json!(["IPv4"]));
        spec.entry("ipFamilyPolicy").or_insert_with(|| policy.into());
        if matches!(ty.as_str(), "NodePort" | "LoadBalancer") {
            let mut free = self.next_random();
            for port in object.pointer_mut("/spec/ports").and_then(Value::as_array_mut).into_iter().flatten()
            {
                if port["nodePort"].as_u64().unwrap_or(0) == 0 {
                    port["nodePort"] = (30_000 + free % 2_768).into();
                    free = free.rotate_left(17);
                }
            }
        }
        Ok(())
    }

    fn address_taken(&self, address: &str) -> bool {
        self.iter(KindId::SERVICES, None).any(|service| service["spec"]["clusterIP"] == address)
    }

    fn free_address(&mut self) -> String {
        loop {
            let random = self.next_random();
            let address = format!("10.96.{}.{}", (random >> 8) % 256, 1 + random % 254);
            if !self.address_taken(&address) {
                return address;
            }
        }
    }

    /// Completes an object before a change of it is stored.
    pub(crate) fn prepare_update(kind: KindId, old: &Value, object: &mut Value) {
        match kind {
            KindId::SERVICES => {
                for field in
                    ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "healthCheckNodePort"]
                {
                    if object["spec"][field].is_null() && !old["spec"][field].is_null() {
                        object["spec"][field] = old["spec"][field].clone();
                    }
                }
                keep_node_ports(old, object);
            }
            KindId::DAEMON_SETS if object["spec"]["template"] != old["spec"]["template"] => {
                const NAME: &str = "deprecated.daemonset.template.generation";
                let before =
                    old["metadata"]["annotations"][NAME].as_str().and_then(|n| n.parse::<i64>().ok());
                object["metadata"]["annotations"][NAME] = (before.unwrap_or(0) + 1).to_string().into();
            }
            KindId::DAEMON_SETS => {
                const NAME: &str = "deprecated.daemonset.template.generation";
                object["metadata"]["annotations"][NAME] = old["metadata"]["annotations"][NAME].clone();
            }
            KindId::JOBS => {
                for field in ["selector", "manualSelector"] {
                    if object["spec"][field].is_null() && !old["spec"][field].is_null() {
                        object["spec"][field] = old["spec"][field].clone();
                    }
                }
            }
            KindId::SECRETS => merge_string_data(object),
            _ => {}
        }
    }
}

fn keep_node_ports(old: &Value, object: &mut Value) {
    let before = old["spec"]["ports"].as_array().cloned().unwrap_or_default();
    let exposed = matches!(object["spec"]["type"].as_str(), Some("NodePort" | "LoadBalancer"));
    for port in object.pointer_mut("/spec/ports").and_then(Value::as_array_mut).into_iter().flatten() {
        let same =
            before.iter().find(|one| one["port"] == port["port"] && one["protocol"] == port["protocol"]);
        if let Some(same) = same.filter(|same| exposed && !same["nodePort"].is_null())
            && port["nodePort"].is_null()
        {
            port["nodePort"] = same["nodePort"].clone();
        }
    }
}

fn add_finalizer(object: &mut Value, name: &str) {
    let finalizers = metadata_mut(object).entry("finalizers").or_insert_with(|| json!([]));
    if let Some(all) = finalizers.as_array_mut()
        && !all.iter().any(|one| one == name)
    {
        all.push(name.into());
    }
}

fn merge_string_data(object: &mut Value) {
    use base64::Engine as _;
    let Some(texts) = object.as_object_mut().and_then(|fields| fields.remove("stringData")) else {
        return;
    };
    for (name, text) in texts.as_object().into_iter().flatten() {
        let text = text.as_str().unwrap_or_default();
        object["data"][name] = base64::engine::general_purpose::STANDARD.encode(text).into();
    }
}

/// Jobs select their pods by their own uid.
fn label_job(object: &mut Value) {
    if object["spec"]["manualSelector"] == true {
        return;
    }
    let uid = object["metadata"]["uid"].clone();
    let name = object["metadata"]["name"].clone();
    for place in ["/spec/template", ""] {
        let Some(labelled) = object.pointer_mut(place) else { continue };
        for prefix in ["batch.kubernetes.io/", ""] {
            labelled["metadata"]["labels"][format!("{prefix}controller-uid")] = uid.clone();
            labelled["metadata"]["labels"][format!("{prefix}job-name")] = name.clone();
        }
    }
    object["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"] = uid;
}

fn mount_token(spec: &mut serde_json::Map<String, Value>, name: &str) {
    const PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
    let volume = json!({"name": name, "projected": {"sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace",
            "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}}, {}], "defaultMode": 420}});
    let mut used = false;
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(container) = container.as_object_mut() else { continue };
            let mounts = container.entry("volumeMounts").or_insert_with(|| json!([]));
            if let Some(mounts) = mounts.as_array_mut()
                && !mounts.iter().any(|mount| mount["mountPath"] == PATH)
            {
                mounts.push(json!({"name": name, "readOnly": true, "mountPath": PATH}));
                used = true;
            }
        }
    }
    if used && let Some(volumes) = spec.entry("volumes").or_insert_with(|| json!([])).as_array_mut() {
        volumes.push(volume);
    }
}

/// Guaranteed, Burstable or `BestEffort`, by what the containers request and are limited to.
fn qos_class(spec: &Value) -> &'static str {
    let containers: Vec<&Value> = ["containers", "initContainers"]
        .iter()
        .flat_map(|list| spec[*list].as_array().into_iter().flatten())
        .collect();
    let of = |container: &Value, kind: &str, resource: &str| container["resources"][kind][resource].clone();
    let resources = ["cpu", "memory"];
    let none = containers.iter().all(|container| {
        resources
            .iter()
            .all(|name| of(container, "requests", name).is_null() && of(container, "limits", name).is_null())
    });
    if none {
        return "BestEffort";
    }
    let guaranteed = containers.iter().all(|container| {
        resources.iter().all(|name| {
            let limit = of(container, "limits", name);
            !limit.is_null() && of(container, "requests", name) == limit
        })
    });
    if guaranteed { "Guaranteed" } else { "Burstable" }
}
