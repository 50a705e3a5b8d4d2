//! What stands in a cluster in the way of a canary is found before the first write.

use crate::support::{Life, Story, Told, environment, virtually};
use deployctl::domain::ids::TargetId;
use deployctl::ports::cluster::Terms;
use deployctl::run::Ending;
use deployctl::run::preflight::{self, Level};
use serde_json::{Value, json};

async fn router_checks(story: &Story) -> Vec<(Level, String)> {
    let plan = story.plan("1.1.0").await;
    let checks = preflight::check(&story.env, &story.doors, &plan).await;
    let own = checks.into_iter().filter(|check| check.name == "router" && check.target.is_some());
    own.map(|check| (check.level, check.detail)).collect()
}

fn ingress(name: &str, service: &str, annotations: &Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": name, "namespace": "shop", "annotations": annotations},
        "spec": {"rules": [{"host": "api.example", "http": {"paths": [{"path": "/", "pathType": "Prefix",
            "backend": {"service": {"name": service, "port": {"number": 80}}}}]}}]}})
}

#[test]
fn other_ingresses_in_the_way_are_found() {
    virtually(environment("nginx"), 1, async |story| {
        assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
        let unnamed = "Ingress/api-canary names no class: whoever serves the default class gets it";
        assert_eq!(router_checks(story).await, [(Level::Warn, unnamed.to_owned())]);
        let cluster = story.doors.sites[&TargetId::new("east")].cluster().unwrap();
        let canary = json!({"nginx.ingress.kubernetes.io/canary": "true"});
        cluster.apply(&ingress("trial", "trial", &canary), Terms::FORCED).await.unwrap();
        cluster.apply(&ingress("other", "api-canary", &json!({})), Terms::FORCED).await.unwrap();
        let found = router_checks(story).await;
        let failed: Vec<&str> = found
            .iter()
            .filter(|(level, _)| *level == Level::Fail)
            .map(|(_, detail)| detail.as_str())
            .collect();
        assert_eq!(
            failed,
            [
                "Ingress/other leads to the Service of Ingress/api-canary: ingress-nginx ignores a canary whose Service backs another Ingress",
                "Ingress/trial is a canary of the same host and path as Ingress/api-canary: one is effective",
            ]
        );
    });
}

#[test]
fn a_gateway_passes_where_its_kinds_are_known() {
    virtually(environment("gateway"), 1, async |story| {
        assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
        let fine = "gateway carries the weights of api".to_owned();
        assert_eq!(router_checks(story).await, [(Level::Pass, fine)]);
    });
}
