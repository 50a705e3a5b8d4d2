//! Records that are damaged: what is certain all the same, and the way out of each.

use super::{died_after, release, shop};
use crate::support::{Life, Story, Told, environment, virtually};
use deployctl::domain::error::Code;
use deployctl::domain::ids::TargetId;
use deployctl::domain::release::Outcome;
use deployctl::ports::state::RecordKind;
use deployctl::run::{Ending, releases, unfinished};
use std::collections::BTreeMap;
use std::time::Duration;

/// The newest run's journal records on a target.
async fn journal(story: &Story, target: &str) -> Vec<String> {
    let newest = story.records(target, RecordKind::Plan).await.pop().unwrap();
    let all = story.records(target, RecordKind::Journal).await;
    all.into_iter().filter(|name| name.starts_with(&format!("{newest}."))).collect()
}

async fn take_back_despite(story: &Story) -> Life {
    let run = unfinished::despite_damage(&story.doors).await.unwrap().unwrap();
    story.take_back(&run, &BTreeMap::new(), &Told::default()).await
}

#[test]
fn a_torn_last_record_is_recovered_whatever_tore_it() {
    virtually(environment("canary"), 51, async |story| {
        release(story, "1.0.0").await;
        died_after(story, "1.1.0", 200).await;
        let last = journal(story, "east").await.pop().unwrap();
        story.damage("east", RecordKind::Journal, &last).await;
        assert_eq!(story.go_on(None, &Told::default()).await, Life::Ended(Ending::Deployed));
        story.rest().await;
        assert_eq!(story.sizes("east")["api-r2"], 4);
    });
}

#[test]
fn a_record_damaged_in_the_middle_is_named_with_what_is_certain_and_the_way_out() {
    virtually(environment("canary"), 52, async |story| {
        release(story, "1.0.0").await;
        died_after(story, "1.1.0", 200).await;
        let name = journal(story, "east").await[3].clone();
        let place = story.damage("east", RecordKind::Journal, &name).await;
        let refused = unfinished::latest(&story.doors).await.unwrap_err();
        let run = name.split('.').next().unwrap();
        assert_eq!(refused.code, Code(603));
        assert_eq!(refused.what, format!("the journal of run {run} (1.1.0 as r2) is damaged"));
        assert_eq!(refused.why.len(), 3, "{:#?}", refused.why);
        assert!(
            refused.why[0].starts_with(&format!("east: record {name}: it does not unpack")),
            "{:#?}",
            refused.why
        );
        assert!(refused.why[0].ends_with(&format!("({place})")), "{:#?}", refused.why);
        assert!(refused.why[1].starts_with("east: certain until "), "{:#?}", refused.why);
        assert!(refused.why[1].ends_with(" of 30 steps done, nothing in flight"), "{:#?}", refused.why);
        assert_eq!(
            refused.next,
            [
                "deployctl status canary, which shows what is live".to_owned(),
                "deployctl rollback canary --despite-damaged-journal, which takes back all that 1.1.0 may have begun, \
                 traffic first"
                    .to_owned(),
                "deployctl rollback canary --despite-damaged-journal --to REVISION, for an older release after that"
                    .to_owned(),
                format!("kubectl --context east get {place} -o yaml"),
            ]
        );
    });
}

/// Whichever record of whichever journal is damaged, and however far the run had come: what was before comes back, with
/// every strategy that the shop has.
fn damaged_anywhere(shop: &'static str, seconds: &[u64], step: usize) {
    for seconds in seconds {
        let mut place = 0;
        loop {
            let more = virtually(environment(shop), 53, async |story| {
                release(story, "1.0.0").await;
                let before = story.objects();
                died_after(story, "1.1.0", *seconds).await;
                let names = journal(story, "east").await;
                // The last one is recovered without any of this.
                let Some(name) = names.get(place).filter(|name| *name != names.last().unwrap()) else {
                    return false;
                };
                story.damage("east", RecordKind::Journal, name).await;
                assert_eq!(unfinished::latest(&story.doors).await.unwrap_err().code, Code(603));
                let life = take_back_despite(story).await;
                assert!(
                    matches!(life, Life::Ended(Ending::RolledBack { .. })),
                    "{seconds} s, {name}: {life:?}"
                );
                story.rest().await;
                assert_eq!(story.objects(), before, "{seconds} s, {name}");
                // The damage is behind: nothing is in the way of the next release.
                let run = unfinished::latest(&story.doors).await.unwrap().unwrap();
                assert!(!run.is_unfinished(), "{:?}", run.replayed.phase);
                true
            });
            if !more {
                break;
            }
            place += step;
        }
        assert!(place > 0, "{seconds} s: nothing was damaged");
    }
}

#[test]
fn a_run_by_pods_is_taken_back_despite_any_damage() {
    damaged_anywhere("canary", &[110, 250], 9);
}

#[test]
fn a_run_by_a_router_is_taken_back_despite_any_damage() {
    damaged_anywhere("nginx", &[250], 9);
}

#[test]
fn a_process_that_dies_on_the_way_back_despite_damage_is_followed_by_an_ordinary_one() {
    let mut died = 0;
    for seconds in 40..46 {
        virtually(shop("ok", "ok"), 54, async |story| {
            release(story, "1.0.0").await;
            let before = story.objects();
            died_after(story, "1.1.0", 60).await;
            let name = journal(story, "west").await[2].clone();
            story.damage("west", RecordKind::Journal, &name).await;
            let over = tokio::select! {
                life = take_back_despite(story) => Some(life),
                () = tokio::time::sleep(Duration::from_secs(seconds)) => None,
            };
            // What was assumed is on record as soon as anything rests on it: no flag is needed any more.
            let begun = unfinished::latest(&story.doors).await.is_ok();
            let life = match over {
                Some(life) => life,
                None if begun => {
                    died += 1;
                    story.go_on(None, &Told::default()).await
                }
                None => take_back_despite(story).await,
            };
            assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{seconds}: {life:?}");
            story.rest().await;
            assert_eq!(story.objects(), before);
        });
    }
    assert!(died > 0, "no process died on the way back");
}

#[test]
fn a_damaged_record_of_a_run_that_is_over_bars_nothing() {
    virtually(environment("canary"), 55, async |story| {
        release(story, "1.0.0").await;
        let name = journal(story, "east").await[2].clone();
        story.damage("east", RecordKind::Journal, &name).await;
        assert!(!unfinished::latest(&story.doors).await.unwrap().unwrap().is_unfinished());
        release(story, "1.1.0").await;
    });
}

#[test]
fn a_damaged_plan_is_read_from_another_target_and_without_one_the_way_by_hand_is_told() {
    virtually(environment("canary"), 56, async |story| {
        release(story, "1.0.0").await;
        died_after(story, "1.1.0", 110).await;
        let plan = story.records("east", RecordKind::Plan).await.pop().unwrap();
        story.damage("east", RecordKind::Plan, &plan).await;
        assert!(unfinished::latest(&story.doors).await.unwrap().unwrap().is_unfinished());
        let place = story.damage("west", RecordKind::Plan, &plan).await;
        let refused = unfinished::latest(&story.doors).await.unwrap_err();
        assert_eq!(refused.code, Code(654));
        assert_eq!(refused.what, format!("the plan of run {plan} is damaged on every target that holds it"));
        assert!(
            refused.next.contains(&format!("kubectl delete {place}  # then the run is forgotten")),
            "{refused:#?}"
        );
        assert!(refused.next[1].contains("-l deployctl.dev/revision=2"), "{refused:#?}");
        // As told: traffic by pods goes with them, then the run is forgotten.
        for target in ["east", "west"] {
            story.scale_to_nothing(target, "deployctl.dev/revision=2").await;
            story.delete_held(target, RecordKind::Plan, &plan).await;
        }
        assert!(!unfinished::latest(&story.doors).await.unwrap().unwrap().is_unfinished());
        let life = story.bring_back_to(1, &Told::default()).await;
        assert_eq!(life, Life::Ended(Ending::Deployed), "the last command that was told");
    });
}

#[test]
fn a_damaged_release_is_read_from_its_plan_and_without_that_it_is_told_what_to_delete() {
    virtually(environment("canary"), 57, async |story| {
        release(story, "1.0.0").await;
        release(story, "1.1.0").await;
        let place = story.damage("east", RecordKind::Release, "000002").await;
        let east = TargetId::from("east");
        let history = async || releases::history(&east, story.doors.sites[&east].state.as_ref()).await;
        let known = history().await.unwrap();
        assert_eq!((known[1].version.as_str(), known[1].outcome), ("1.1.0", Outcome::Deployed));
        assert_eq!(
            known[1].evidence,
            ["east: the record of this release is damaged; this is what the plan of its run tells"]
        );
        // It is left for the older one, and brought back, by what its plan tells.
        assert_eq!(story.bring_back(&Told::default()).await, Life::Ended(Ending::Deployed));
        story.rest().await;
        assert_eq!(story.bring_back_to(2, &Told::default()).await, Life::Ended(Ending::Deployed));
        story.rest().await;
        assert_eq!(story.sizes("east")["api-r2"], 4);
        let plan = story.records("east", RecordKind::Plan).await[1].clone();
        story.delete_held("east", RecordKind::Plan, &plan).await;
        let refused = history().await.unwrap_err();
        assert_eq!((refused.code, refused.what.as_str()), (Code(620), "release r2 of east is damaged"));
        assert!(refused.next[0].starts_with(&format!("kubectl delete {place}  # ")), "{refused:#?}");
        story.delete_held("east", RecordKind::Release, "000002").await;
        assert_eq!(story.bring_back_to(1, &Told::default()).await, Life::Ended(Ending::Deployed));
    });
}
