//! An older release that is brought back: nothing that goes wrong beside it, and no interrupt, leads users to the release that
//! somebody is leaving.

use super::release;
use super::stage::Refusal;
use super::wrong::assert_ends_as;
use crate::support::{Life, Story, Told, alerts, environment, virtually};
use deployctl::domain::environment::{Environment, OnInterrupt};
use deployctl::domain::event::Kind;
use deployctl::domain::ids::{Revision, TargetId};
use deployctl::domain::release::Outcome;
use deployctl::ports::state::RecordKind;
use deployctl::run::journal::Phase;
use deployctl::run::prepare::{self, Rollback};
use deployctl::run::{Ending, debts, releases, unfinished};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// Release r1 (1.0.0), then r2 (1.1.0), which somebody wants to leave.
async fn two_releases(story: &Story) {
    release(story, "1.0.0").await;
    release(story, "1.1.0").await;
}

fn goes_away(story: &Story, target: &str, seconds: u64) {
    story.world.add_fault(&format!("api-down:{seconds}:{target}@0s").parse().unwrap());
}

/// Whether r1 has all pods of the `api` on a target, or r2 has.
fn serves(story: &Story, target: &str) -> &'static str {
    let sizes = story.sizes(target);
    match (sizes["api-r1"], sizes["api-r2"]) {
        (4, 0) => "r1",
        (0, 4) => "r2",
        _ => "both",
    }
}

/// Whether the run took any step back.
fn turned_round(told: &Told) -> bool {
    let events = told.0.lock().unwrap();
    events.iter().any(|event| matches!(event.kind, Kind::StepUndone { .. } | Kind::RollbackStarted { .. }))
}

/// What the last event says is to be typed, why, and who is owed something.
fn last_words(told: &Told) -> (Vec<String>, String, Vec<TargetId>) {
    let events = told.0.lock().unwrap();
    let Kind::RunFinished { next, cause, owed, .. } = &events.last().unwrap().kind else {
        panic!("the last word is how it ended")
    };
    (next.clone(), cause.clone().unwrap_or_default(), owed.clone())
}

async fn run(story: &Story) -> unfinished::Run {
    unfinished::latest(&story.doors).await.unwrap().unwrap()
}

/// `resume` brings what is missing, and the older release serves everywhere.
async fn resumed(story: &Story, place: &str) {
    let told = Told::default();
    let life = story.go_on(None, &told).await;
    assert_eq!(life, Life::Ended(Ending::Deployed), "{place}");
    assert!(!turned_round(&told), "{place}");
    all_is_back(story, place).await;
}

async fn all_is_back(story: &Story, place: &str) {
    story.rest().await;
    for target in ["east", "west"] {
        assert_eq!(serves(story, target), "r1", "{target}: {place}");
        assert_eq!(story.sizes(target)["web-r2"], 0, "{target}: {place}");
        let site = &story.doors.sites[&target.into()];
        let last = releases::history(&target.into(), site.state.as_ref()).await.unwrap().pop().unwrap();
        let found = (last.outcome, last.rollback_of);
        assert_eq!(found, (Outcome::Deployed, Some(Revision(1))), "{target}: {place}");
    }
    assert!(!run(story).await.is_unfinished(), "{place}");
}

#[test]
fn a_region_that_is_lost_in_the_middle_does_not_turn_the_others_round() {
    let mut owed_once = 0;
    for (lost, other) in [("west", "east"), ("east", "west")] {
        for after in [1, 6, 20] {
            virtually(environment("canary"), 71, async |story| {
                two_releases(story).await;
                let place = format!("{lost} after {after} s");
                let told = Told::default();
                let away = async {
                    tokio::time::sleep(Duration::from_secs(after)).await;
                    goes_away(story, lost, 900);
                };
                let (life, ()) = tokio::join!(story.bring_back(&told), away);
                assert!(!turned_round(&told), "{place}");
                assert_eq!(serves(story, other), "r1", "{place}: {life:?}");
                let (next, _, owed) = last_words(&told);
                match life {
                    Life::Ended(Ending::Deployed) => {}
                    Life::Ended(Ending::Unknown { cause }) => {
                        assert!(
                            cause.contains(&format!("not brought back on {lost}, which gives no answer")),
                            "{cause}"
                        );
                        assert_eq!(next, ["deployctl resume canary"], "{place}");
                        assert_eq!(owed, [TargetId::from(lost)], "{place}");
                        // It bars nothing that leaves the region out.
                        let elsewhere = story.elsewhere().but(&[TargetId::from(lost)]);
                        let known = unfinished::latest(&elsewhere).await.unwrap().unwrap();
                        assert_eq!(known.owed(), [TargetId::from(lost)], "{place}");
                        assert!(known.is_unfinished() && !known.bars(&elsewhere), "{place}");
                        owed_once += 1;
                    }
                    other => panic!("{place}: {other:?}"),
                }
                tokio::time::sleep(Duration::from_mins(15)).await;
                if run(story).await.is_unfinished() {
                    if (lost, after) == ("west", 6) {
                        assert_ends_as("brought-back-but-one", story, &told).await;
                    }
                    resumed(story, &place).await;
                }
                all_is_back(story, &place).await;
            });
        }
    }
    assert!(owed_once > 2, "{owed_once}");
}

/// Longer than contact is borne, and back before the others are through: the same process brings the older release there.
#[test]
fn a_region_that_comes_back_in_time_is_done_by_the_same_run() {
    let mut done = 0;
    for seconds in [70, 110] {
        virtually(environment("canary"), 72, async |story| {
            two_releases(story).await;
            let told = Told::default();
            let away = async {
                tokio::time::sleep(Duration::from_secs(6)).await;
                goes_away(story, "west", seconds);
            };
            let (life, ()) = tokio::join!(story.bring_back(&told), away);
            assert!(!turned_round(&told), "{seconds}");
            if life == Life::Ended(Ending::Deployed) {
                done += 1;
            } else {
                assert!(matches!(life, Life::Ended(Ending::Unknown { .. })), "{seconds}: {life:?}");
                tokio::time::sleep(Duration::from_mins(3)).await;
                resumed(story, "later").await;
            }
            all_is_back(story, "in the end").await;
        });
    }
    assert!(done > 0, "{done}");
}

/// A process dies in the middle and a region is gone when somebody goes on: the others do not wait for it.
#[test]
fn what_died_goes_on_where_somebody_answers() {
    virtually(environment("canary"), 73, async |story| {
        two_releases(story).await;
        let request = story.request("", Some(Rollback::Previous));
        let plan = prepare::plan(&story.doors, &request).await.unwrap();
        let told = Told::default();
        tokio::select! {
            life = story.new_run(&plan, &told, None) => panic!("{life:?}"),
            () = tokio::time::sleep(Duration::from_secs(8)) => {}
        }
        goes_away(story, "west", 900);
        tokio::time::sleep(Duration::from_mins(1)).await;
        let told = Told::default();
        let life = story.go_on_where_it_answers(&["west"], &told).await;
        assert!(matches!(life, Life::Ended(Ending::Unknown { .. })), "{life:?}");
        assert!(!turned_round(&told));
        assert_eq!(serves(story, "east"), "r1");
        tokio::time::sleep(Duration::from_mins(15)).await;
        assert_eq!(run(story).await.owed(), [TargetId::from("west")]);
        resumed(story, "the west is back").await;
    });
}

#[test]
fn an_interrupt_moves_no_users_and_says_where_they_are() {
    let (mut stopped, mut places) = (0, Vec::new());
    for seconds in (1..40).step_by(5) {
        let mut env = environment("canary");
        // What an interrupt does elsewhere is not what it does here.
        if seconds % 2 == 0 {
            env.on_interrupt = OnInterrupt::Rollback;
        }
        virtually(env, 74, async |story| {
            two_releases(story).await;
            let request = story.request("", Some(Rollback::Previous));
            let plan = prepare::plan(&story.doors, &request).await.unwrap();
            let told = Told::default();
            let life = story.new_run(&plan, &told, Some(Duration::from_secs(seconds))).await;
            if life == Life::Ended(Ending::Deployed) {
                return;
            }
            assert_eq!(life, Life::Ended(Ending::Interrupted), "{seconds}");
            assert!(!turned_round(&told), "{seconds}");
            let (next, cause, _) = last_words(&told);
            assert_eq!(next, ["deployctl resume canary", "deployctl status canary"], "{seconds}");
            for target in ["east", "west"] {
                let said = match serves(story, target) {
                    "r1" => [format!("on 1.0.0 in {target}"), format!("on 1.0.0 and 1.1.0 in {target}")],
                    "r2" => [format!("on 1.1.0 in {target}"), format!("on 1.0.0 and 1.1.0 in {target}")],
                    _ => [format!("on 1.0.0 and 1.1.0 in {target}"), "nothing else".to_owned()],
                };
                assert!(said.iter().any(|said| cause.contains(said)), "{seconds}: {cause}");
            }
            let now = run(story).await;
            assert_eq!(now.replayed.phase, Phase::Interrupted, "{seconds}");
            if seconds == 16 {
                assert_ends_as("interrupted-on-the-way-back", story, &told).await;
            }
            places.push(cause);
            stopped += 1;
            tokio::time::sleep(Duration::from_mins(5)).await;
            resumed(story, &format!("interrupted after {seconds} s")).await;
        });
    }
    places.dedup();
    assert!(stopped > 3 && places.len() > 1, "{places:?}");
}

/// The shop with an autoscaler for the `api`, or without one.
fn scaled(with: &str) -> Environment {
    let mut env = environment("canary");
    env.values["autoscaler"] = json!(with);
    env
}

#[test]
fn what_cannot_be_cleaned_up_is_left_and_done_by_resume() {
    virtually(scaled(""), 75, async |story| {
        release(story, "1.0.0").await;
        release(&story.under(scaled("yes")), "1.1.0").await;
        let words = "horizontalpodautoscalers.autoscaling \"api\" is forbidden: denied by policy";
        let refused = Refusal::of("west", "DELETE", "/horizontalpodautoscalers/api", words);
        let told = Told::default();
        let life = story.behind(vec![refused]).bring_back(&told).await;
        let Life::Ended(Ending::Broken { remaining, serves: true, .. }) = life else { panic!("{life:?}") };
        assert!(!turned_round(&told));
        assert_eq!(remaining.len(), 1, "{remaining:?}");
        assert!(remaining[0].to_string().contains("denied by policy"), "{remaining:?}");
        assert_eq!(last_words(&told).0, ["deployctl resume canary", "deployctl status canary"]);
        assert_eq!((serves(story, "west"), serves(story, "east")), ("r1", "r1"));
        assert_ends_as("brought-back-not-cleaned", story, &told).await;
        assert!(run(story).await.serves());
        resumed(story, "the policy is gone").await;
        assert!(!story.objects().contains_key("west HorizontalPodAutoscaler/api"));
    });
}

#[test]
fn old_pods_that_cannot_go_after_the_switch_turn_nothing_round() {
    virtually(environment("canary"), 76, async |story| {
        two_releases(story).await;
        let refused =
            Refusal::of("east", "PATCH", "/deployments/web-r2", "denied by policy: no scaling today");
        let told = Told::default();
        let life = story.behind(vec![refused]).bring_back(&told).await;
        assert!(matches!(life, Life::Ended(Ending::Broken { serves: true, .. })), "{life:?}");
        assert!(!turned_round(&told));
        assert_eq!(story.sizes("east")["web-r2"], 2);
        // A rollback of it ends it as it is; here it is gone on with.
        resumed(story, "the policy is gone").await;
    });
}

#[test]
fn smoke_tests_of_today_are_told_and_turn_nothing_round() {
    virtually(environment("canary"), 77, async |story| {
        two_releases(story).await;
        let mut env = environment("canary");
        // Only what is left has it.
        env.smoke[0].status = 201;
        env.smoke[0].name = "wishlist".to_owned();
        let told = Told::default();
        let life = story.under(env).bring_back(&told).await;
        let Life::Ended(Ending::Broken { remaining, serves: true, .. }) = life else { panic!("{life:?}") };
        assert!(!turned_round(&told));
        // Each pod directly, before anything moved, and the public way.
        assert!(remaining.len() >= 2, "{remaining:?}");
        assert!(remaining.iter().all(|wrong| wrong.cause.contains("smoke test wishlist")), "{remaining:?}");
        let warned = alerts(&told);
        assert!(warned.iter().any(|line| line.contains("smoke test wishlist")), "{warned:?}");
        assert_eq!(last_words(&told).0, ["deployctl smoke canary", "deployctl status canary"]);
        all_is_back(story, "a test fails").await;
        // Nothing is left to be done, and nothing bars the next release.
        let life = story.go_on(None, &Told::default()).await;
        assert!(matches!(&life, Life::Refused(failure) if failure.code.0 == 614), "{life:?}");
        release(story, "1.2.0").await;
    });
}

/// The process dies behind a test that failed: whoever goes on asks it again, and ends the run.
#[test]
fn a_run_that_died_behind_a_failed_test_comes_to_its_end() {
    virtually(environment("canary"), 78, async |story| {
        two_releases(story).await;
        let mut env = environment("canary");
        env.smoke[0].status = 201;
        let doubting = story.under(env);
        let request = doubting.request("", Some(Rollback::Previous));
        let plan = prepare::plan(&story.doors, &request).await.unwrap();
        let told = Told::default();
        let failed = async {
            loop {
                tokio::time::sleep(Duration::from_millis(500)).await;
                if alerts(&told).iter().any(|line| line.contains("the public way failed")) {
                    break;
                }
            }
        };
        tokio::select! {
            life = story.new_run(&plan, &told, None) => panic!("{life:?}"),
            () = failed => {}
        }
        let life = story.go_on(None, &Told::default()).await;
        assert!(matches!(life, Life::Ended(Ending::Broken { serves: true, .. })), "{life:?}");
        all_is_back(story, "somebody went on").await;
    });
}

#[test]
fn a_region_to_which_it_does_not_come_goes_back_alone() {
    virtually(environment("canary"), 79, async |story| {
        two_releases(story).await;
        let refused =
            Refusal::of("west", "PATCH", "/deployments/api-r1", "denied by policy: no scaling today");
        let told = Told::default();
        let life = story.behind(vec![refused.times(1)]).bring_back(&told).await;
        assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{life:?}");
        story.rest().await;
        assert_eq!((serves(story, "east"), serves(story, "west")), ("r1", "r2"));
        assert_ends_as("brought-back-on-one", story, &told).await;
        // The next `rollback` leaves the east where it is.
        let mut histories = BTreeMap::new();
        for (target, site) in &story.doors.sites {
            let history = releases::history(target, site.state.as_ref()).await.unwrap();
            histories.insert(target.clone(), history);
        }
        let stay = debts::before_already(&histories);
        assert_eq!(stay.keys().map(ToString::to_string).collect::<Vec<_>>(), ["east"]);
        let (west, _) = story.without(&["east"], "1.0.0");
        assert_eq!(west.bring_back(&Told::default()).await, Life::Ended(Ending::Deployed));
        story.rest().await;
        assert_eq!((serves(story, "east"), serves(story, "west")), ("r1", "r1"));
    });
}

#[test]
fn an_older_release_that_comes_nowhere_leaves_everything_as_it_was() {
    virtually(environment("canary"), 80, async |story| {
        two_releases(story).await;
        let before = story.objects();
        let words = "denied by policy: no scaling today";
        let refused =
            ["east", "west"].map(|target| Refusal::of(target, "PATCH", "/deployments/api-r1", words));
        let told = Told::default();
        let life = story.behind(refused.map(|one| one.times(1)).to_vec()).bring_back(&told).await;
        assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{life:?}");
        story.rest().await;
        assert_eq!(story.objects(), before);
        assert!(last_words(&told).1.contains(words));
    });
}

/// What an older deployctl wrote at the end of a run reads as before, and so does what this one writes of a run that owes
/// nothing.
#[test]
fn an_end_without_debts_is_written_as_ever() {
    virtually(environment("canary"), 81, async |story| {
        release(story, "1.0.0").await;
        let site = &story.doors.sites[&"east".into()];
        let records = site.state.list(RecordKind::Journal, "").await.unwrap();
        let last = String::from_utf8(records.last().unwrap().content.clone()).unwrap();
        assert!(last.contains(r#"{"phase":{"ended":{"outcome":"deployed"}}}"#), "{last}");
    });
}
