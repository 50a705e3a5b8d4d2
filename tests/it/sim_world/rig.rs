//! A world with one cluster, and short ways to write to it and to look at it.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use deployctl::sim::kube::kinds::KindId;
use deployctl::sim::kube::store::Stored;
use deployctl::sim::kube::store::{DeleteOptions, Key, Propagation};
use deployctl::sim::{ClusterSpec, World, WorldSpec};
use serde_json::{Value, json};

pub const CLUSTER: &str = "us-east-1";
pub const NAMESPACE: &str = "golden";

pub struct Rig {
    pub world: World,
    driver: tokio::task::JoinHandle<()>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Rig {
    /// A world of this specification with a namespace, driven until the rig is dropped.
    pub async fn of(spec: &WorldSpec) -> Self {
        let world = World::new(spec);
        let driving = world.clone();
        let rig = Self { world, driver: tokio::spawn(async move { driving.run().await }) };
        rig.create(KindId::NAMESPACES, json!({"metadata": {"name": NAMESPACE}}));
        rig.wait(1.0).await;
        rig
    }

    /// A world with one cluster, changed by `change`.
    pub async fn with(seed: u64, change: impl FnOnce(&mut ClusterSpec)) -> Self {
        let mut cluster = ClusterSpec::new(CLUSTER);
        change(&mut cluster);
        Self::of(&WorldSpec::new(seed, vec![cluster])).await
    }

    pub async fn new(seed: u64) -> Self {
        Self::with(seed, |_| {}).await
    }

    /// Lets virtual time pass.
    pub async fn wait(&self, seconds: f64) {
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    }

    pub fn create(&self, kind: KindId, object: Value) -> Arc<Stored> {
        let store = self.world.store(CLUSTER);
        let made = store.lock().unwrap_or_else(PoisonError::into_inner).create(
            self.world.now(),
            "test",
            kind,
            object,
        );
        self.world.changed();
        made.unwrap_or_else(|refused| panic!("refused: {refused}"))
    }

    pub fn get(&self, kind: KindId, name: &str) -> Option<Arc<Stored>> {
        let store = self.world.store(CLUSTER);
        let store = store.lock().unwrap_or_else(PoisonError::into_inner);
        store.get(&Key::new(kind, NAMESPACE, name))
    }

    pub fn list(&self, kind: KindId) -> Vec<Arc<Stored>> {
        let store = self.world.store(CLUSTER);
        store.lock().unwrap_or_else(PoisonError::into_inner).list(kind, Some(NAMESPACE))
    }

    pub fn modify(&self, kind: KindId, name: &str, change: impl FnOnce(&mut Value)) {
        let store = self.world.store(CLUSTER);
        let key = Key::new(kind, NAMESPACE, name);
        let done = store.lock().unwrap_or_else(PoisonError::into_inner).modify(
            self.world.now(),
            "test",
            &key,
            change,
        );
        self.world.changed();
        done.unwrap_or_else(|refused| panic!("refused: {refused}"));
    }

    pub fn delete(&self, kind: KindId, name: &str, propagation: Propagation) {
        let store = self.world.store(CLUSTER);
        let key = Key::new(kind, NAMESPACE, name);
        let options = DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() };
        let done = store.lock().unwrap_or_else(PoisonError::into_inner).delete(
            self.world.now(),
            "test",
            &key,
            &options,
        );
        self.world.changed();
        done.unwrap_or_else(|refused| panic!("refused: {refused}"));
    }

    pub fn modify_namespace(&self, change: impl FnOnce(&mut Value)) {
        let store = self.world.store(CLUSTER);
        let key = Key::new(KindId::NAMESPACES, "", NAMESPACE);
        let done = store.lock().unwrap_or_else(PoisonError::into_inner).modify(
            self.world.now(),
            "test",
            &key,
            change,
        );
        self.world.changed();
        done.unwrap_or_else(|refused| panic!("refused: {refused}"));
    }

    pub fn delete_namespace(&self) {
        let store = self.world.store(CLUSTER);
        let key = Key::new(KindId::NAMESPACES, "", NAMESPACE);
        let options = DeleteOptions::default();
        let done = store.lock().unwrap_or_else(PoisonError::into_inner).delete(
            self.world.now(),
            "test",
            &key,
            &options,
        );
        self.world.changed();
        done.unwrap_or_else(|refused| panic!("refused: {refused}"));
    }

    pub fn deploy(&self, name: &str, image: &str, replicas: u32, revision: u32) {
        self.create(KindId::DEPLOYMENTS, deployment(name, image, replicas, revision));
    }

    pub fn set_image(&self, name: &str, image: &str, revision: u32) {
        self.modify(KindId::DEPLOYMENTS, name, |deployment| {
            let template = &mut deployment["spec"]["template"];
            template["spec"]["containers"][0]["image"] = image.into();
            template["metadata"]["labels"]["deployctl.dev/revision"] = revision.to_string().into();
        });
    }

    /// `Progressing`'s reason, or the empty string.
    pub fn progress(&self, name: &str) -> String {
        let deployment = self.get(KindId::DEPLOYMENTS, name).expect("the Deployment is there");
        let conditions = deployment["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions
            .iter()
            .find(|condition| condition["type"] == "Progressing")
            .and_then(|condition| condition["reason"].as_str())
            .unwrap_or_default()
            .to_owned()
    }
}

pub fn deployment(name: &str, image: &str, replicas: u32, revision: u32) -> Value {
    json!({
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": {"app": name, "deployctl.dev/component": name, "deployctl.dev/revision": revision.to_string()}},
                "spec": {"containers": [{
                    "name": name, "image": image, "ports": [{"containerPort": 8000}],
                    "resources": {"requests": {"cpu": "500m", "memory": "256Mi"}},
                    "readinessProbe": {"httpGet": {"path": "/ready", "port": 8000}, "periodSeconds": 2},
                }]},
            },
        },
    })
}

pub fn service(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8000}]},
    })
}

pub fn ingress(name: &str, service: &str, annotations: &Value) -> Value {
    json!({
        "metadata": {"name": name, "namespace": NAMESPACE, "annotations": annotations},
        "spec": {"ingressClassName": "nginx", "rules": [{"host": "kva.example", "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": service, "port": {"number": 80}}}},
        ]}}]},
    })
}
