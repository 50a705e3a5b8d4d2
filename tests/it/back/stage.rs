//! What stories about ways back need beside a shop: servers that refuse, records that are gone, hands that help.

use crate::support::{Life, Story};
use deployctl::adapters::kubernetes::KubeCluster;
use deployctl::domain::ids::{Revision, TargetId};
use deployctl::ports::state::RecordKind;
use deployctl::run::Report;
use deployctl::run::prepare::{self, Rollback};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use kube::client::Body;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use tower::ServiceExt as _;

/// A server refuses what matches, so many times.
#[derive(Clone, Debug)]
pub struct Refusal {
    target: &'static str,
    method: &'static str,
    path: &'static str,
    message: &'static str,
    left: usize,
}

impl Refusal {
    /// Writes by this method whose path holds this; dry runs pass.
    pub fn of(target: &'static str, method: &'static str, path: &'static str, message: &'static str) -> Self {
        Self { target, method, path, message, left: usize::MAX }
    }

    /// Not for ever.
    pub fn times(self, left: usize) -> Self {
        Self { left, ..self }
    }

    fn meets(&self, target: &str, request: &Request<Body>) -> bool {
        let dry = request.uri().query().is_some_and(|query| query.contains("dryRun"));
        self.target == target
            && self.left > 0
            && !dry
            && request.method() == self.method
            && request.uri().path().contains(self.path)
    }
}

/// As the API server answers.
fn forbidden(
    message: &str,
) -> Response<
    http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, Box<dyn std::error::Error + Send + Sync>>,
> {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403,
        "message": message});
    let body = Full::from(status.to_string()).map_err(|never| match never {}).boxed_unsync();
    let answer = Response::builder().status(StatusCode::FORBIDDEN).header("content-type", "application/json");
    answer.body(body).unwrap()
}

impl Story {
    /// The same world behind servers that refuse some writes.
    pub fn behind(&self, refusals: Vec<Refusal>) -> Self {
        let mut story = self.under(self.env.clone());
        let refusals = Arc::new(Mutex::new(refusals));
        for (target, site) in &mut story.doors.sites {
            let (api, name) = (self.world.api(target.as_str()), target.to_string());
            let refusals = Arc::clone(&refusals);
            let service = tower::service_fn(move |request: Request<Body>| {
                let mut all = refusals.lock().unwrap();
                let met = all.iter_mut().find(|refusal| refusal.meets(&name, &request));
                let refused = met.map(|refusal| {
                    refusal.left -= 1;
                    refusal.message
                });
                drop(all);
                let answer = api.clone().oneshot(request);
                async move {
                    match refused {
                        Some(message) => Ok(forbidden(message)),
                        None => answer.await,
                    }
                }
            });
            let client = kube::Client::new(service, "default");
            site.cluster = Some(Arc::new(KubeCluster::new(client, target.to_string()).with_seed(1)));
        }
        story
    }

    /// `deployctl rollback ENV --to N`.
    pub async fn bring_back_to(&self, revision: u32, report: &dyn Report) -> Life {
        let request = self.request("", Some(Rollback::To(Revision(revision))));
        match prepare::plan(&self.doors, &request).await {
            Ok(plan) => self.new_run(&plan, report, None).await,
            Err(failure) => Life::Refused(failure),
        }
    }

    /// Somebody annotates a Job.
    pub async fn annotate(&self, target: &str, job: &str, annotation: &str) {
        let object = json!({"apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": job, "namespace": "shop", "annotations": {annotation: "by-hand"}}});
        // As another field manager would: nothing else of the Job changes.
        let patch = serde_json::to_vec(&json!({"metadata": object["metadata"]})).unwrap();
        let request = Request::patch(format!("/apis/batch/v1/namespaces/shop/jobs/{job}"))
            .header("content-type", "application/merge-patch+json")
            .body(Body::from(patch))
            .unwrap();
        let answer = self.world.api(target).oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }

    /// Somebody deletes the record of a release.
    pub async fn forget_release(&self, target: &str, revision: u32) {
        let site = &self.doors.sites[&TargetId::from(target)];
        site.state.delete(RecordKind::Release, &format!("{revision:06}")).await.unwrap();
    }

    /// Somebody, or something, damages a record: half of its bytes are lost. Returns what holds it.
    pub async fn damage(&self, target: &str, kind: RecordKind, name: &str) -> String {
        let site = &self.doors.sites[&TargetId::from(target)];
        let place = site.state.place(kind, name);
        let (namespace, secret) = place.trim_start_matches("-n ").split_once(" secret/").unwrap();
        let path = format!("/api/v1/namespaces/{namespace}/secrets");
        let held = self
            .world
            .snapshot(target)
            .into_iter()
            .find(|object| object["kind"] == "Secret" && object["metadata"]["name"] == secret);
        let held = held.unwrap_or_else(|| panic!("{place}"));
        let mut data = held["data"]["record"].as_str().unwrap().to_owned();
        data.truncate(data.len() / 8 * 4);
        let metadata = json!({"name": secret, "namespace": namespace, "labels": held["metadata"]["labels"],
            "annotations": held["metadata"]["annotations"]});
        let torn = json!({"apiVersion": "v1", "kind": "Secret", "type": held["type"], "immutable": true,
            "metadata": metadata, "data": {"record": data}});
        let call = async |method: &str, path: String, body: Vec<u8>| {
            let request =
                Request::builder().method(method).uri(path).header("content-type", "application/json");
            let answer =
                self.world.api(target).oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
            assert!(answer.status().is_success(), "{method}: {}", answer.status());
        };
        call("DELETE", format!("{path}/{secret}"), Vec::new()).await;
        call("POST", path, serde_json::to_vec(&torn).unwrap()).await;
        place
    }

    /// Names of the records of a kind.
    pub async fn records(&self, target: &str, kind: RecordKind) -> Vec<String> {
        let records = self.doors.sites[&TargetId::from(target)].state.list(kind, "").await.unwrap();
        records.into_iter().map(|record| record.name).collect()
    }

    /// Somebody types `kubectl delete …` of what holds a record.
    pub async fn delete_held(&self, target: &str, kind: RecordKind, name: &str) {
        self.doors.sites[&TargetId::from(target)].state.delete(kind, name).await.unwrap();
    }

    /// Somebody scales all Deployments with a label to nothing.
    pub async fn scale_to_nothing(&self, target: &str, label: &str) {
        let (key, value) = label.split_once('=').unwrap();
        let objects = self.world.snapshot(target);
        let found: Vec<String> = objects
            .iter()
            .filter(|object| object["kind"] == "Deployment" && object["metadata"]["labels"][key] == value)
            .map(|object| object["metadata"]["name"].as_str().unwrap().to_owned())
            .collect();
        assert!(!found.is_empty(), "nothing carries {label}");
        for name in found {
            let request = Request::patch(format!("/apis/apps/v1/namespaces/shop/deployments/{name}/scale"))
                .header("content-type", "application/merge-patch+json")
                .body(Body::from(br#"{"spec":{"replicas":0}}"#.to_vec()))
                .unwrap();
            let answer = self.world.api(target).oneshot(request).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
        }
    }

    /// Somebody sets the image of a Deployment.
    pub async fn set_image(&self, target: &str, deployment: &str, image: &str) {
        let container = deployment.split("-r").next().unwrap();
        let pods = json!({"spec": {"containers": [{"name": container, "image": image}]}});
        let patch = json!({"spec": {"template": pods}});
        let request = Request::patch(format!("/apis/apps/v1/namespaces/shop/deployments/{deployment}"))
            .header("content-type", "application/strategic-merge-patch+json")
            .body(Body::from(serde_json::to_vec(&patch).unwrap()))
            .unwrap();
        let answer = self.world.api(target).oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }

    /// How many pods a Job has made, those of a Job of that name before included.
    pub fn pods_made(&self, target: &str, job: &str) -> usize {
        let objects = self.world.snapshot(target);
        let events = objects.iter().filter(|object| object["kind"] == "Event");
        let made = events.filter(|event| {
            let about = &event["involvedObject"];
            (about.is_null() || about["name"] == job) && event["reason"] == "SuccessfulCreate"
        });
        let said: BTreeSet<String> = made.map(|event| event["message"].to_string()).collect();
        said.iter().filter(|message| message.contains(&format!("{job}-"))).count()
    }
}
