//! Asks what smoke tests ask: pods directly before a cut-over, the public way after it.

use super::perform::{Stand, StepError};
use crate::domain::effect::SmokeVia;
use crate::domain::environment::{SmokeTest, Through};
use crate::domain::event::Kind;
use crate::domain::ids::ComponentId;
use crate::domain::object::ObjectRef;
use crate::ports::probe::{HttpAnswer, HttpQuestion, ProbeError};
use crate::rollout::smoke;
use serde_json::Value;

impl Stand<'_> {
    /// All tests must pass, each within its attempts.
    pub async fn smoke(&self, tests: &[SmokeTest], via: &SmokeVia) -> Result<String, StepError> {
        let asked = tests.iter().map(|test| self.test_with_retries(test, via));
        let results = futures::future::join_all(asked).await;
        let failures: Vec<String> = results.into_iter().filter_map(Result::err).collect();
        if failures.is_empty() {
            return Ok(format!("{} passed", tests.len()));
        }
        Err(StepError::failed(failures.join("; ")))
    }

    async fn test_with_retries(&self, test: &SmokeTest, via: &SmokeVia) -> Result<(), String> {
        let mut attempt = 1;
        loop {
            let answer = self.ask(test, via).await;
            let result = smoke::judge(test, &answer);
            let last = attempt >= test.attempts.max(1);
            if result.is_ok() || last {
                let (passed, detail) = match &result {
                    Ok(detail) => (true, detail.clone()),
                    Err(why) => (false, why.clone()),
                };
                let (name, target) = (test.name.clone(), self.target.clone());
                self.teller.tell(Kind::SmokeTested { test: name, target, passed, detail });
                return result.map(|_| ()).map_err(|why| format!("smoke test {}: {why}", test.name));
            }
            attempt += 1;
            tokio::time::sleep(test.retry_delay).await;
        }
    }

    async fn ask(&self, test: &SmokeTest, via: &SmokeVia) -> Result<HttpAnswer, ProbeError> {
        let mut headers = test.headers.clone();
        match via {
            SmokeVia::Pods { workloads } => {
                let workload = find(workloads, &test.component)?;
                self.ask_pod(test, workload, headers).await
            }
            SmokeVia::Public { services } => {
                let ingress = self.plan.targets.get(self.target).and_then(|target| target.ingress.as_ref());
                if let (Through::Ingress, Some(base)) = (test.through, ingress) {
                    if let Some(host) = &test.host {
                        headers.insert("Host".to_owned(), host.clone());
                    }
                    let url = format!("{}{}", base.trim_end_matches('/'), test.path);
                    let question = HttpQuestion { method: test.method.clone(), url, headers };
                    return self.world.probe.ask(&question, test.timeout).await;
                }
                let service = find(services, &test.component)?;
                self.ask_service(test, service, headers).await
            }
        }
    }

    /// A ready pod of the newest template, through the API server.
    async fn ask_pod(
        &self,
        test: &SmokeTest,
        workload: &ObjectRef,
        headers: std::collections::BTreeMap<String, String>,
    ) -> Result<HttpAnswer, ProbeError> {
        let cluster = self.cluster().map_err(|error| ProbeError { message: error.cause })?;
        let pod = {
            let snapshots = cluster.follow(&workload.namespace);
            let snapshot = snapshots.borrow();
            let pods = snapshot.current_pods(workload);
            pods.iter().find(|(_, pod)| pod.ready && !pod.terminating).map(|(name, _)| (*name).to_owned())
        };
        let Some(pod) = pod else {
            return Err(ProbeError { message: format!("{workload} has no ready pod to ask") });
        };
        let live = self.in_contact("read", async || cluster.get(workload).await).await;
        let live = live.map_err(|error| ProbeError { message: error.cause })?;
        let port = live
            .as_ref()
            .and_then(|live| live.pointer("/spec/template/spec/containers/0/ports/0/containerPort"))
            .and_then(Value::as_u64)
            .unwrap_or(80);
        let question = HttpQuestion { method: test.method.clone(), url: test.path.clone(), headers };
        let way = format!("pods/{pod}:{port}");
        cluster.proxy(&workload.namespace, &way, &question, test.timeout).await
    }

    async fn ask_service(
        &self,
        test: &SmokeTest,
        service: &ObjectRef,
        headers: std::collections::BTreeMap<String, String>,
    ) -> Result<HttpAnswer, ProbeError> {
        let cluster = self.cluster().map_err(|error| ProbeError { message: error.cause })?;
        let live = self.in_contact("read", async || cluster.get(service).await).await;
        let live = live.map_err(|error| ProbeError { message: error.cause })?;
        let port = live
            .as_ref()
            .and_then(|live| live.pointer("/spec/ports/0/port"))
            .and_then(Value::as_u64)
            .unwrap_or(80);
        let question = HttpQuestion { method: test.method.clone(), url: test.path.clone(), headers };
        let way = format!("services/{}:{port}", service.name);
        cluster.proxy(&service.namespace, &way, &question, test.timeout).await
    }
}

fn find<'a>(
    known: &'a [(ComponentId, ObjectRef)],
    component: &ComponentId,
) -> Result<&'a ObjectRef, ProbeError> {
    known
        .iter()
        .find(|(id, _)| id == component)
        .map(|(_, reference)| reference)
        .ok_or_else(|| ProbeError { message: format!("{component} has nothing that could be asked") })
}
