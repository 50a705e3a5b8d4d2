//! What preflight says of a plan: who judged its objects, what the server warns of, and which permissions are missing.

use crate::served::{Server, define, fleet};
use crate::support::{Story, environment, virtually};
use deployctl::adapters::kubernetes::KubeCluster;
use deployctl::domain::ids::TargetId;
use deployctl::plan::Plan;
use deployctl::ports::cluster::Terms;
use deployctl::run::World;
use deployctl::run::preflight::{self, Level};
use deployctl::sim::kube::host::Identity;
use serde_json::{Value, json};
use std::sync::Arc;

/// The checks of a name, as they are told.
async fn checks(story: &Story, world: &World, plan: &Plan, name: &str) -> Vec<(Level, String)> {
    let checks = preflight::check(&story.env, world, plan).await;
    checks.into_iter().filter(|check| check.name == name).map(|check| (check.level, check.detail)).collect()
}

fn deployment(name: &str, image: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "main", "image": image}]}}}})
}

#[test]
fn the_schema_that_judged_is_named() {
    virtually(environment("canary"), 3, async |story| {
        define(story, json!({})).await;
        let server = Server::new(story, None);
        let world = server.world(story);
        let good = server.plan(story, &[fleet(&[(1, 2)])]).await;
        let pass = "the server accepts all 2 in a dry run; 1 fits the server's schema";
        assert_eq!(checks(story, &world, &good, "objects").await, [(Level::Pass, pass.to_owned())]);

        let mut wrong = fleet(&[(1, 2)]);
        wrong["spec"]["ships"][0]["sail"] = json!(1);
        wrong["spec"]["port"] = json!(true);
        let bad = server.plan(story, &[wrong]).await;
        let refused = |what: &str| {
            (Level::Fail, format!("Fleet/home (test.yaml:1) does not fit the server's schema: {what}"))
        };
        let mut found = checks(story, &world, &bad, "objects").await;
        found.sort();
        assert_eq!(
            found,
            [
                refused("spec.port is of type boolean; integer or string is declared"),
                refused("spec.ships[0].sail is no field of it")
            ]
        );
    });
}

#[test]
fn what_the_server_warns_of_is_told_once_with_the_objects_it_concerns() {
    virtually(environment("canary"), 3, async |story| {
        let server = Server::new(story, None);
        let world = server.world(story);
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default",
            "labels": {"pod-security.kubernetes.io/warn": "baseline", "kubernetes.io/metadata.name": "default"}}});
        server.cluster.apply(&namespace, Terms::FORCED).await.unwrap();
        let privileged = |name: &str, image: &str| {
            let mut object = deployment(name, image);
            object["spec"]["template"]["spec"]["hostNetwork"] = json!(true);
            object
        };
        server.cluster.apply(&privileged("old", "example.com/a:1"), Terms::FORCED).await.unwrap();
        server.cluster.apply(&privileged("same", "example.com/a:1"), Terms::FORCED).await.unwrap();

        let objects = [
            privileged("old", "example.com/a:2"),
            privileged("new", "example.com/a:2"),
            privileged("same", "example.com/a:1"),
            deployment("fine", "example.com/a:1"),
        ];
        let plan = server.plan(story, &objects).await;
        let text = "Deployment/new, Deployment/old: would violate PodSecurity \"baseline:latest\": \
                    host namespaces (hostNetwork=true)";
        assert_eq!(checks(story, &world, &plan, "warnings").await, [(Level::Warn, text.to_owned())]);
        // A saved plan knows nothing of an earlier server's warnings: the server is asked again.
        let text_of_plan = serde_json::to_string(&plan).unwrap();
        let saved: Plan = serde_json::from_str(&text_of_plan).unwrap();
        assert!(
            !text_of_plan.contains("would violate")
                && saved.targets[&TargetId::from("east")].tried.is_empty()
        );
        assert_eq!(checks(story, &world, &saved, "warnings").await, [(Level::Warn, text.to_owned())]);
        let accepted = "the server accepts all 4 in a dry run".to_owned();
        assert_eq!(checks(story, &world, &saved, "objects").await, [(Level::Pass, accepted.clone())]);
        assert_eq!(checks(story, &world, &plan, "objects").await, [(Level::Pass, accepted)]);
    });
}

#[test]
fn exactly_the_kinds_that_are_waited_for_must_be_watchable() {
    virtually(environment("canary"), 3, async |story| {
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "store", "namespace": "default"}, "spec": {"accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}}}});
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "default"}});
        let plan =
            Server::new(story, None).plan(story, &[deployment("db", "example.com/db:1"), claim, map]).await;
        let as_one_without = async |denials: &[(&str, &str, &str, &str)]| {
            let identity = Identity::denied("ci", denials);
            let client = kube::Client::new(story.world.api("east").with_identity(identity), "default");
            let mut world = Server::new(story, None).world(story);
            let site = world.sites.get_mut(&TargetId::from("east")).unwrap();
            site.cluster = Some(Arc::new(KubeCluster::new(client, "east")));
            checks(story, &world, &plan, "permissions").await
        };
        for (verb, group, resource, missing) in [
            ("watch", "", "persistentvolumeclaims", Some("watch persistentvolumeclaims")),
            ("list", "apps", "deployments", Some("list deployments")),
            ("list", "apps", "replicasets", Some("list replicasets")),
            ("watch", "", "pods", Some("watch pods")),
            // Nothing waits for these.
            ("watch", "", "configmaps", None),
            ("watch", "apps", "statefulsets", None),
            ("watch", "batch", "jobs", None),
            ("watch", "discovery.k8s.io", "endpointslices", None),
            ("patch", "apps", "deployments/scale", None),
        ] {
            let found = as_one_without(&[(verb, group, resource, "default")]).await;
            let levels: Vec<Level> = found.iter().map(|(level, _)| *level).collect();
            match missing {
                Some(missing) => assert_eq!(found, [(Level::Fail, format!("missing: {missing}"))]),
                None => assert_eq!(levels, [Level::Pass], "{verb} {resource}: {found:?}"),
            }
        }
        let without_events = as_one_without(&[("*", "", "events", "*")]).await;
        let [(Level::Pass, _), (Level::Warn, told)] = without_events.as_slice() else {
            panic!("{without_events:?}")
        };
        assert_eq!(told, "missing: list events, watch events; causes of failures will be told less clearly");
    });
}
