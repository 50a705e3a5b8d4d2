//! The process of a run dies at every record that it writes, while a guard watches.

use super::{alerts, begin, dies_at, guarded, has_acted, seconds};
use crate::support::{Life, Story, Told, environment, virtually};
use deployctl::domain::effect::Effect;
use deployctl::domain::step::Status;
use deployctl::run::{Ending, unfinished};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// What leads users of the east and the west to pods.
fn routes(story: &Story) -> BTreeMap<String, String> {
    let is_route = |name: &str| {
        let kind = name.split([' ', '/']).nth(1).unwrap_or_default();
        ["Service", "Ingress"].contains(&kind)
    };
    story.objects().into_iter().filter(|(name, _)| is_route(name)).collect()
}

/// Requests in the east so far: to the release of before, to the new one, those that found no pod, all that failed. (Of
/// ten thousand that a healthy pod of the simulated world answers, one fails.)
fn requests(story: &Story) -> [u64; 4] {
    let report = story.world.report();
    let api = &report.clusters["east"].components["api"];
    let of = |revision: &str| api.by_revision.get(revision).map_or(0, |tally| tally.requests);
    [of("1"), of("2"), api.unrouted, report.failed()]
}

/// How the shop is found when the guard has had its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    /// All of it serves from stable at its full size.
    Stable,
    /// All of it serves from the new release, which has passed all its checks.
    New,
}

/// Users meet one version alone: the one of before at full size, or the new one when nothing is left to check.
async fn found(story: &Story, before: &BTreeMap<String, String>, context: &str) -> Found {
    // Connections that clients hold open are closed little by little.
    seconds(90).await;
    let from = requests(story);
    seconds(30).await;
    let to = requests(story);
    let (old, new) = (to[0] - from[0], to[1] - from[1]);
    assert!(old + new > 500, "{context}: users are served: {from:?} {to:?}");
    // The last of the connections that clients hold open may be left; a canary has 20 %.
    if new * 30 < old {
        for target in ["east", "west"] {
            let sizes = story.sizes(target);
            assert_eq!((sizes["api-r1"], sizes["web-r1"]), (4, 2), "{context}: {target}: {sizes:?}");
        }
        let mut now = routes(story);
        // Services that a way back would delete later lead nobody there yet.
        now.retain(|name, _| before.contains_key(name));
        assert_eq!(now, *before, "{context}");
        return Found::Stable;
    }
    assert!(old * 30 < new, "{context}: users meet two versions: {from:?} {to:?}");
    let checks = |effect: &Effect| matches!(effect, Effect::Hold { .. } | Effect::Smoke { .. });
    let run = unfinished::latest(&story.doors).await.unwrap().unwrap();
    let steps = run.plan.stages.iter().flat_map(|stage| &stage.steps);
    for step in steps.filter(|step| checks(&step.effect)) {
        assert_eq!(run.replayed.status.get(&step.id), Some(&Status::Done), "{context}: {}", step.title);
    }
    Found::New
}

/// Every third record, by turns stored or not; `EVERY_RECORD=1` takes them all, which is a matter of many minutes.
fn stride() -> usize {
    if std::env::var_os("EVERY_RECORD").is_some() { 1 } else { 3 }
}

/// What a campaign of crashes showed.
#[derive(Default)]
struct Campaign {
    records: usize,
    stable: usize,
    /// From the death of the process to traffic on stable.
    took: BTreeSet<Duration>,
}

/// How a run that a guard has stopped, or left alone, comes to its end.
fn ended(story: &Story, after: &Life, before: &BTreeMap<String, String>, context: &str) {
    match after {
        Life::Ended(Ending::Deployed) => {
            let service = &story.objects()["east Service/web"];
            assert!(service.contains("\"deployctl.dev/revision\":\"2\""), "{context}");
            assert_eq!((story.sizes("east")["api-r1"], story.sizes("west")["api-r2"]), (0, 4), "{context}");
        }
        Life::Ended(Ending::RolledBack { .. }) => assert_eq!(story.objects(), *before, "{context}"),
        // It died before its plan was stored, or after everything was on record.
        Life::Refused(failure) => assert_eq!(failure.code.0, 614, "{context}: {failure:?}"),
        other => panic!("{context}: {other:?}"),
    }
}

/// The process dies at every record that it writes, before or after it is stored by turns, while a guard watches; then it
/// is resumed or rolled back by turns.
fn crash_everywhere(shop: &'static str, version: &'static str) {
    let mut campaign = Campaign::default();
    loop {
        let at = campaign.records;
        let (stored, back) = (at % 2 == 0, (at / 2 % 2 == 0).then_some("taken back"));
        let context = format!("{shop} {version}, record {at}, stored {stored}");
        let died = virtually(environment(shop), 17, async |story| {
            begin(story).await;
            let (objects, before) = (story.objects(), routes(story));
            dies_at(story, at, stored);
            let watched = Told::default();
            let dead = guarded(story, &watched, async {
                let life = story.deploy(version, &Told::default()).await;
                *story.dies.lock().unwrap() = None;
                if life != Life::Died {
                    return None;
                }
                let (died, [.., unrouted, failed]) = (Instant::now(), requests(story));
                while died.elapsed() < Duration::from_secs(150) && !has_acted(&watched) {
                    seconds(1).await;
                }
                let [.., lost, more] = requests(story);
                Some((died.elapsed(), (lost - unrouted, more - failed)))
            })
            .await;
            let (took, failed) = dead?;
            if version == "1.1.0" {
                assert!(failed.0 == 0 && failed.1 < 6, "{context}: users noticed: {failed:?}");
            }
            let critical: Vec<_> =
                alerts(&watched).into_iter().filter(|(level, _)| level == "critical").collect();
            assert_eq!(critical, [], "{context}");
            let found = found(story, &before, &context).await;
            let acted = has_acted(&watched);
            assert!(!acted || found == Found::Stable, "{context}: {found:?}");
            let after = story.go_on(back, &Told::default()).await;
            story.rest().await;
            ended(story, &after, &objects, &context);
            Some(acted.then_some(took))
        });
        let Some(took) = died else { break };
        campaign.records += stride();
        campaign.stable += stride() * usize::from(took.is_some());
        campaign.took.extend(took);
    }
    let (fastest, slowest) = (campaign.took.first().unwrap(), campaign.took.last().unwrap());
    eprintln!(
        "{shop} {version}: {} crashes, traffic put on stable after {}, from {} s to {} s after the crash (lease 30 s)",
        campaign.records,
        campaign.stable,
        fastest.as_secs(),
        slowest.as_secs()
    );
    assert!(
        campaign.records > 20 && campaign.stable > 8,
        "{shop}: {} of {}",
        campaign.stable,
        campaign.records
    );
}

#[test]
fn a_run_that_dies_at_any_record_is_put_on_stable_and_resumed_or_rolled_back() {
    crash_everywhere("canary", "1.1.0");
}

#[test]
fn a_run_with_a_router_that_dies_at_any_record_is_put_on_stable_and_resumed_or_rolled_back() {
    crash_everywhere("nginx", "1.1.0");
}

#[test]
fn a_way_back_that_dies_at_any_record_is_put_on_stable_and_finished() {
    crash_everywhere("canary", "2.0.0-err30");
}
