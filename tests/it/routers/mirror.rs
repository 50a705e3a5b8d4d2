//! Copies of requests show what a release does before a user sees it.

use super::runs::{begin, received, titles};
use crate::support::{Life, Story, Told, environment, virtually};
use deployctl::domain::environment::{Environment, Mirror, Strategy};
use deployctl::run::Ending;
use std::time::Duration;

fn mirroring(router: &str) -> Environment {
    let mut env = environment(router);
    for component in &mut env.components {
        if let Strategy::Canary(canary) = &mut component.strategy {
            canary.mirror = Some(Mirror { percent: 50, hold: Duration::from_mins(3) });
        }
    }
    env
}

/// Requests from users that the new revision answered so far.
fn answered(story: &Story) -> u64 {
    received(story).0
}

#[test]
fn a_bad_release_is_found_by_copies_and_no_user_meets_it() {
    for router in ["gateway", "istio"] {
        virtually(mirroring(router), 7, async |story| {
            begin(story).await;
            let before = story.objects();
            let told = Told::default();
            let life = story.deploy("2.0.0-err30", &told).await;
            let fits =
                matches!(&life, Life::Ended(Ending::RolledBack { cause }) if cause.contains("error-rate"));
            assert!(fits, "{router}: {life:?} {:#?}", titles(&told));
            assert_eq!(answered(story), 0, "{router}");
            let titles = titles(&told);
            assert!(
                titles.iter().any(|title| title.starts_with("copy 50 % of the requests to api-r2")),
                "{titles:#?}"
            );
            assert!(!titles.iter().any(|title| title.starts_with("send 20 %")), "{titles:#?}");
            story.rest().await;
            assert_eq!(story.objects(), before, "{router}");
        });
    }
}

#[test]
fn a_good_release_goes_on_from_copies_to_weights() {
    for router in ["gateway", "istio"] {
        virtually(mirroring(router), 1, async |story| {
            begin(story).await;
            let plan = story.plan("1.1.0").await;
            let twice = "east: 50 % of the requests to api are executed twice before its first weight (`mirror`): what they write or send is written and sent twice";
            assert!(plan.warnings.iter().any(|warning| warning == twice), "{:#?}", plan.warnings);
            let told = Told::default();
            assert_eq!(story.deploy("1.1.0", &told).await, Life::Ended(Ending::Deployed), "{router}");
            story.rest().await;
            assert_eq!(story.sizes("east")["api-r2"], 4, "{router}");
            assert!(!story.plan("1.1.0").await.has_changes(), "{router}");
        });
    }
}
