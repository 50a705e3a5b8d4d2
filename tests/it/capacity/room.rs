//! What preflight says of quotas, nodes and autoscalers before a release asks for more pods.

use crate::support::{Life, Story, Told, environment, virtually};
use deployctl::ports::cluster::Terms;
use deployctl::run::Ending;
use deployctl::run::preflight::{self, Level};
use serde_json::{Value, json};

async fn checks(story: &Story, version: &str, name: &str) -> Vec<(Level, String)> {
    let plan = story.plan(version).await;
    let checks = preflight::check(&story.env, &story.doors, &plan).await.into_iter();
    let east = checks
        .filter(|check| check.name == name && check.target.as_ref().is_some_and(|t| t.as_str() == "east"));
    east.map(|check| (check.level, check.detail)).collect()
}

/// What is said of the next release while the namespace has this quota.
async fn under_quota(story: &Story, hard: Value) -> Vec<(Level, String)> {
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": "team", "namespace": "shop"}, "spec": {"hard": hard}});
    story.cluster("east").apply(&quota, Terms::FORCED).await.unwrap();
    story.rest().await;
    checks(story, "2.0.0", "quota").await
}

/// Four pods serve; at the most four of the next revision come beside them.
#[test]
fn quotas_are_held_against_the_most_pods_of_the_plan() {
    virtually(environment("scaled"), 51, async |story| {
        assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
        let quota = async |hard: Value| under_quota(story, hard).await;
        // api 4 + web 2 + worker 2, and beside them 4 and 2; worker is replaced one by one.
        assert_eq!(
            quota(json!({"pods": "15"})).await,
            [(Level::Pass, "1 with room for 6 more pods".to_owned())]
        );
        let short = "new revision at full size: 6 pods more, 4 of 12 are left in ResourceQuota/team";
        assert_eq!(quota(json!({"pods": "12"})).await, [(Level::Fail, short.to_owned())]);
        let refused = quota(json!({"limits.memory": "4Gi"})).await;
        assert!(refused.iter().all(|(level, _)| *level == Level::Fail), "{refused:?}");
        let wanted = "pods of Deployment/api-r2 are refused: ResourceQuota/team counts limits.memory, and container api says none";
        assert!(refused.iter().any(|(_, detail)| detail == wanted), "{refused:?}");
    });
}

/// The next revision of api comes with a Deployment and a Service for its canary, that of web with a Deployment and a Service.
#[test]
fn quotas_that_count_objects_are_held_against_what_the_plan_makes() {
    virtually(environment("scaled-nginx"), 53, async |story| {
        assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
        let quota = async |hard: Value| {
            let failed = under_quota(story, hard).await.into_iter();
            failed.filter(|(level, _)| *level == Level::Fail).map(|(_, detail)| detail).collect::<Vec<_>>()
        };
        let used = |resource: &str| {
            let objects = story.world.snapshot("east");
            let quota = objects.iter().find(|object| object["kind"] == "ResourceQuota").unwrap();
            quota["status"]["used"][resource].as_str().unwrap().parse::<u32>().unwrap()
        };
        let all = json!({"count/deployments.apps": "99", "services": "99", "count/configmaps": "99"});
        assert_eq!(quota(all).await, Vec::<String>::new());
        let (deployments, services) = (used("count/deployments.apps"), used("services"));
        let hard = json!({"count/deployments.apps": (deployments + 1).to_string(), "services": services.to_string()});
        assert_eq!(
            quota(hard).await,
            [
                format!(
                    "new revision at full size: 2 deployments.apps more, 1 of {} are left in ResourceQuota/team",
                    deployments + 1
                ),
                format!("route 20 %: 2 services more, 0 of {services} are left in ResourceQuota/team"),
            ]
        );
    });
}

#[test]
fn nodes_without_room_and_autoscalers_of_nobody_are_told_before() {
    let mut env = environment("scaled");
    virtually(env.clone(), 52, async |story| {
        assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
        let fits = checks(story, "2.0.0", "room").await;
        assert_eq!(
            fits,
            [(Level::Pass, "6 nodes take the 6 more pods of new revision at full size".to_owned())]
        );
        assert_eq!(checks(story, "2.0.0", "autoscalers").await, []);
        let foreign = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "by-hand", "namespace": "shop"},
            "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web-r1"}, "maxReplicas": 3}});
        story.cluster("east").apply(&foreign, Terms::FORCED).await.unwrap();
        let found = checks(story, "2.0.0", "autoscalers").await;
        let text = "HorizontalPodAutoscaler/by-hand scales Deployment/web-r1 and is in no manifest: nobody turns it to the new revision";
        assert_eq!(found, [(Level::Warn, text.to_owned())]);
        env.values["cpu"] = json!("20");
        let huge = story.under(env.clone());
        let text = "new revision at full size: 4 of 4 new pods of Deployment/api-r2 find no place on 6 nodes: 6 too little cpu";
        assert_eq!(checks(&huge, "2.0.0", "room").await, [(Level::Warn, text.to_owned())]);
    });
}
