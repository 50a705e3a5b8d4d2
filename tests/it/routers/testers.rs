//! Testers reach the new revision whatever the weight, from when its pods are ready until the rollout is over.

use super::runs::begin;
use crate::support::{Life, Story, Told, environment, virtually};
use deployctl::ports::probe::HttpQuestion;
use deployctl::run::Ending;
use std::collections::BTreeMap;
use std::time::Duration;

/// The versions that answer 20 questions with these headers in the east.
async fn answered(story: &Story, headers: &[(&str, &str)]) -> BTreeMap<String, u32> {
    let target = story.env.targets.iter().find(|target| target.id.as_str() == "east").unwrap();
    let base = target.ingress.as_ref().unwrap();
    let mut all = BTreeMap::from([("Host".to_owned(), "api.example".to_owned())]);
    all.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let question = HttpQuestion { method: "GET".into(), url: format!("{base}/"), headers: all };
    let mut found = BTreeMap::new();
    for _ in 0..20 {
        let answer = story.doors.probe.ask(&question, Duration::from_secs(5)).await.unwrap();
        let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_default();
        *found.entry(body["version"].as_str().unwrap_or("none").to_owned()).or_default() += 1;
    }
    found
}

#[test]
fn testers_go_to_the_new_revision_at_every_weight_and_to_stable_after_a_way_back() {
    for router in ["nginx", "gateway", "istio", "alb"] {
        virtually(environment(router), 1, async |story| {
            begin(story).await;
            let header = [("X-Canary", "always")];
            let cookie = [("Cookie", "a=b; canary=always")];
            let old = BTreeMap::from([("1.0.0".to_owned(), 20)]);
            assert_eq!(answered(story, &header).await, old, "{router}");
            let at_20 = async {
                loop {
                    let all = answered(story, &[]).await;
                    if all.len() == 2 {
                        let by_header = answered(story, &header).await;
                        let by_cookie = answered(story, &cookie).await;
                        break (by_header, by_cookie);
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            };
            let told = Told::default();
            let (life, (by_header, by_cookie)) = tokio::join!(story.deploy("1.1.0-err30", &told), at_20);
            // Its failures tell no version.
            assert!(!by_header.contains_key("1.0.0"), "{router}: {by_header:?}");
            let knows_cookies = ["nginx", "istio"].contains(&router);
            assert_eq!(!by_cookie.contains_key("1.0.0"), knows_cookies, "{router}: {by_cookie:?}");
            assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{router}: {life:?}");
            story.rest().await;
            assert_eq!(answered(story, &header).await, old, "{router}");
        });
    }
}
