//! What `status` reads of the live routes while a canary is under way.

use super::runs::begin;
use crate::support::{Life, Told, environment, virtually};
use deployctl::domain::ids::TargetId;
use deployctl::run::Ending;
use deployctl::run::weights::{self, Weight};
use std::time::Duration;

/// Every weight of the plan is recognised from the routes as they are, and nothing is made of them before and after.
#[test]
fn the_live_routes_tell_the_weight() {
    for router in ["nginx", "gateway", "istio", "alb"] {
        virtually(environment(router), 1, async |story| {
            begin(story).await;
            let plan = story.plan("1.1.0").await;
            let east = TargetId::from("east");
            let elsewhere = story.elsewhere();
            let cluster = elsewhere.sites[&east].cluster().unwrap();
            let look = async || {
                let seen = weights::look(cluster.as_ref(), &plan, &east).await.unwrap();
                seen.get(&"api".into()).cloned()
            };
            assert_eq!(look().await, None, "{router}");
            let watch = async {
                let mut seen = Vec::new();
                loop {
                    tokio::time::sleep(Duration::from_secs(5)).await;
                    match look().await {
                        Some(Weight::Percent(percent)) if seen.last() != Some(&percent) => seen.push(percent),
                        // Between two routes of one change.
                        Some(Weight::Percent(_) | Weight::Unknown(_)) => {}
                        None if seen.is_empty() => {}
                        None => return seen,
                    }
                }
            };
            let told = Told::default();
            let (life, seen) = tokio::join!(story.new_run(&plan, &told, None), watch);
            assert_eq!(life, Life::Ended(Ending::Deployed), "{router}");
            let holds: Vec<u8> = seen.iter().copied().filter(|percent| [20, 50].contains(percent)).collect();
            assert_eq!(holds, [20, 50], "{router}: {seen:?}");
            assert_eq!(look().await, None, "{router}");
        });
    }
}

/// Somebody sets another weight by hand: that is not taken for one of the plan's.
#[test]
fn a_route_that_is_none_of_the_plans_has_no_weight() {
    virtually(environment("nginx"), 1, async |story| {
        begin(story).await;
        let plan = story.plan("1.1.0").await;
        let east = TargetId::from("east");
        let elsewhere = story.elsewhere();
        let cluster = elsewhere.sites[&east].cluster().unwrap();
        let by_hand = async {
            loop {
                tokio::time::sleep(Duration::from_secs(5)).await;
                let seen = weights::look(cluster.as_ref(), &plan, &east).await.unwrap();
                if seen.get(&"api".into()) == Some(&Weight::Percent(20)) {
                    let canary = "nginx.ingress.kubernetes.io/canary-weight";
                    let mut changed = plan.objects.iter().find(|object| {
                        object.kind() == "Ingress" && object.value["metadata"]["annotations"][canary] == "20"
                    });
                    let mut value = changed.take().unwrap().value.clone();
                    value["metadata"]["annotations"][canary] = "80".into();
                    cluster.apply(&value, deployctl::ports::cluster::Terms::FORCED).await.unwrap();
                    return weights::look(cluster.as_ref(), &plan, &east).await.unwrap();
                }
            }
        };
        let told = Told::default();
        let seen = tokio::select! {
            seen = by_hand => seen,
            life = story.new_run(&plan, &told, None) => panic!("{life:?}"),
        };
        let routes = match &seen[&"api".into()] {
            Weight::Unknown(routes) => routes.iter().map(ToString::to_string).collect::<Vec<_>>(),
            weight @ Weight::Percent(_) => panic!("{weight:?}"),
        };
        assert_eq!(routes, ["Ingress/api-canary"]);
    });
}
