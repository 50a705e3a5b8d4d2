//! The way back of what Jobs did: in a run that turns back, and when a release is left for an older one.

use crate::support::{Life, Story, Told, environment, virtually};
use deployctl::domain::environment::Environment;
use deployctl::domain::event::Kind;
use deployctl::run::{Ending, prepare};
use serde_json::json;
pub use stage::Refusal;
use std::sync::atomic::Ordering;
use std::time::Duration;

mod damaged;
mod onward;
mod stage;
mod wrong;

/// The shop with words for its Jobs: `fail`.
pub fn shop(up: &str, down: &str) -> Environment {
    let mut env = environment("jobs");
    env.values["up"] = json!(up);
    env.values["down"] = json!(down);
    env
}

pub async fn release(story: &Story, version: &str) {
    let life = story.deploy(version, &Told::default()).await;
    assert_eq!(life, Life::Ended(Ending::Deployed), "{version}");
    tokio::time::sleep(Duration::from_mins(2)).await;
    story.world.mark_stable();
}

/// A release that died after so many seconds.
pub async fn died_after(story: &Story, version: &str, seconds: u64) {
    let told = Told::default();
    tokio::select! {
        life = story.deploy(version, &told) => panic!("it ended first: {life:?}"),
        () = tokio::time::sleep(Duration::from_secs(seconds)) => {}
    }
}

/// The Jobs of a target: name, version, and its last condition.
fn jobs(story: &Story, target: &str) -> Vec<String> {
    let objects = story.world.snapshot(target);
    let jobs = objects.iter().filter(|object| object["kind"] == "Job");
    let mut lines: Vec<String> = jobs
        .map(|job| {
            let name = job["metadata"]["name"].as_str().unwrap();
            let version = job["spec"]["template"]["spec"]["containers"][0]["args"][0].as_str().unwrap();
            let status = &job["status"];
            let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
            let last = conditions.last().map_or("runs", |c| c["type"].as_str().unwrap()).to_owned();
            format!("{name} {version} {last}")
        })
        .collect();
    lines.sort();
    lines
}

/// Titles of steps and lanes in the order in which they were told.
pub fn story_of(told: &Told, target: &str) -> Vec<String> {
    let events = told.0.lock().unwrap();
    let line = |kind: &Kind| match kind {
        Kind::StepStarted { title, target: at, .. } if at.as_str() == target => Some(title.clone()),
        Kind::RollbackLane { lane } => Some(format!("lane {lane:?}")),
        Kind::StepUndone { title, target: at, .. } if at.as_str() == target => {
            Some(format!("undone: {title}"))
        }
        _ => None,
    };
    events.iter().filter_map(|event| line(&event.kind)).collect()
}

pub fn place(lines: &[String], wanted: &str) -> usize {
    lines.iter().position(|line| line.contains(wanted)).unwrap_or_else(|| panic!("{wanted}: {lines:#?}"))
}

#[test]
fn a_run_that_turns_back_undoes_its_migration_when_the_new_pods_are_gone() {
    virtually(shop("ok", "ok"), 31, async |story| {
        release(story, "1.0.0").await;
        let before = story.objects();
        let told = Told::default();
        let life = story.deploy("2.0.0-crash", &told).await;
        assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{life:?}");
        story.rest().await;
        assert_eq!(story.objects(), before);
        // The Job that undid the migration has run; the one of before does not run again.
        assert_eq!(jobs(story, "west"), ["unmigrate-r2 2.0.0-crash Complete"]);
        assert_eq!(jobs(story, "east"), ["migrate 1.0.0 Complete"], "it never came that far");
        let lines = story_of(&told, "west");
        let (capacity, jobs) = (place(&lines, "lane Capacity"), place(&lines, "lane Jobs"));
        let (undone, config) = (place(&lines, "undone: run Job/migrate"), place(&lines, "lane Config"));
        assert!(capacity < jobs && jobs < undone && undone < config, "{lines:#?}");
        assert!(
            lines.contains(&"run Job/migrate; on the way back: Job/unmigrate-r2".to_owned()),
            "{lines:#?}"
        );
    });
}

#[test]
fn a_run_that_failed_before_its_migration_has_nothing_to_undo() {
    virtually(shop("ok", "ok"), 32, async |story| {
        release(story, "1.0.0").await;
        let refused = Refusal::of("west", "PATCH", "/configmaps/", "denied by policy: no settings today");
        let life = story.behind(vec![refused]).deploy("1.1.0", &Told::default()).await;
        assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{life:?}");
        story.rest().await;
        assert_eq!(jobs(story, "west"), ["migrate 1.0.0 Complete"]);
    });
    // The server refuses the Job itself: its step was begun, and it was never made.
    virtually(shop("ok", "ok"), 33, async |story| {
        release(story, "1.0.0").await;
        let refused = Refusal::of("west", "PATCH", "/jobs/migrate", "denied by policy: no Jobs today");
        let life = story.behind(vec![refused.times(1)]).deploy("1.1.0", &Told::default()).await;
        assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{life:?}");
        story.rest().await;
        assert!(
            !jobs(story, "west").iter().any(|job| job.starts_with("unmigrate")),
            "{:?}",
            jobs(story, "west")
        );
    });
}

#[test]
fn a_migration_that_fails_is_undone_too() {
    virtually(shop("ok", "ok"), 34, async |story| {
        release(story, "1.0.0").await;
        let next = story.under(shop("fail", "ok"));
        let life = next.deploy("1.1.0", &Told::default()).await;
        assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{life:?}");
        story.rest().await;
        assert_eq!(jobs(story, "west"), ["unmigrate-r2 1.1.0 Complete"]);
    });
}

#[test]
fn a_rollback_runs_the_jobs_of_every_release_that_it_leaves_newest_first() {
    virtually(shop("ok", "ok"), 35, async |story| {
        for version in ["1.0.0", "1.1.0", "1.2.0"] {
            release(story, version).await;
        }
        let told = Told::default();
        assert_eq!(story.bring_back_to(1, &told).await, Life::Ended(Ending::Deployed));
        story.rest().await;
        for target in ["east", "west"] {
            // The migration of what was left is gone, so that it runs again if that goes out again; the one of 1.0.0 did not.
            assert_eq!(jobs(story, target), ["unmigrate-r2 1.1.0 Complete", "unmigrate-r3 1.2.0 Complete"]);
            let lines = story_of(&told, target);
            let drained = place(&lines, "drain db-r3");
            let newest = place(&lines, "run Job/unmigrate-r3, which undoes Jobs of r3 (1.2.0)");
            let older = place(&lines, "run Job/unmigrate-r2, which undoes Jobs of r2 (1.1.0)");
            assert!(drained < newest && newest < older, "{lines:#?}");
        }
        // What serves now stands where 1.0.0 stood: the next release migrates again, and is undone by its own Job.
        release(story, "1.2.0").await;
        assert_eq!(jobs(story, "east"), ["migrate 1.2.0 Complete"]);
        assert_eq!(story.bring_back(&Told::default()).await, Life::Ended(Ending::Deployed));
        story.rest().await;
        assert_eq!(jobs(story, "east"), ["unmigrate-r5 1.2.0 Complete"]);
    });
}

#[test]
fn a_job_that_fails_on_the_way_back_holds_nothing_else_up() {
    virtually(shop("ok", "fail"), 36, async |story| {
        release(story, "1.0.0").await;
        let before = story.objects();
        let told = Told::default();
        let life = story.deploy("2.0.0-crash", &told).await;
        let Life::Ended(Ending::Broken { remaining, serves: false, .. }) = life else { panic!("{life:?}") };
        story.rest().await;
        assert_eq!(story.objects(), before, "all but the Job is back");
        let wrong: Vec<String> = remaining.iter().map(ToString::to_string).collect();
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert!(wrong[0].starts_with("west: run Job/unmigrate-r2: Job/unmigrate-r2 failed: "), "{wrong:?}");
        assert_eq!(
            remaining[0].next,
            [
                "kubectl --context west -n shop logs job/unmigrate-r2 --all-containers",
                "deployctl rollback jobs  # runs it again",
                "kubectl --context west -n shop annotate job/unmigrate-r2 deployctl.dev/done=by-hand \
                 && deployctl rollback jobs  # once its work is done by hand",
            ]
        );
        // Again it fails, with what it needs made anew; then a person has done it.
        let life = story.go_on(Some("again"), &Told::default()).await;
        assert!(matches!(life, Life::Ended(Ending::Broken { .. })), "{life:?}");
        story.annotate("west", "unmigrate-r2", "deployctl.dev/done").await;
        let life = story.go_on(Some("again"), &Told::default()).await;
        assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{life:?}");
    });
}

#[test]
fn a_job_that_hangs_on_the_way_back_has_its_time_and_no_more() {
    virtually(shop("ok", "ok"), 37, async |story| {
        release(story, "1.0.0").await;
        let hang = async {
            tokio::time::sleep(Duration::from_secs(30)).await;
            story.world.add_fault(&"hook-hang:west@0s".parse().unwrap());
        };
        let told = Told::default();
        let (life, ()) = tokio::join!(story.deploy("2.0.0-unready", &told), hang);
        let Life::Ended(Ending::Broken { remaining, .. }) = life else { panic!("{life:?}") };
        assert_eq!(
            remaining[0].cause,
            "Job/unmigrate-r2 failed: Job was active longer than specified deadline"
        );
    });
}

#[test]
fn a_rollback_whose_job_fails_stays_on_the_older_release_and_is_finished_by_resume() {
    virtually(shop("ok", "fail"), 38, async |story| {
        release(story, "1.0.0").await;
        release(story, "1.1.0").await;
        let told = Told::default();
        let life = story.bring_back(&told).await;
        let Life::Ended(Ending::Broken { remaining, serves: true, .. }) = life else { panic!("{life:?}") };
        story.rest().await;
        assert_eq!(story.sizes("east")["db-r1"], 2, "the older release serves");
        assert_eq!(story.sizes("east")["db-r2"], 0);
        assert_eq!(remaining.len(), 2, "one for each target");
        assert!(
            remaining[0].next.iter().any(|next| next == "deployctl resume jobs  # runs it again"),
            "{remaining:?}"
        );
        // It is tried again, fails again, and is done by hand.
        let life = story.go_on(None, &Told::default()).await;
        assert!(matches!(life, Life::Ended(Ending::Broken { serves: true, .. })), "{life:?}");
        for target in ["east", "west"] {
            story.annotate(target, "unmigrate-r2", "deployctl.dev/done").await;
        }
        assert_eq!(story.go_on(None, &Told::default()).await, Life::Ended(Ending::Deployed));
        release(story, "1.2.0").await;
    });
}

#[test]
fn a_process_that_dies_at_any_record_of_a_way_back_runs_each_job_once() {
    for stored in [true, false] {
        let mut at = 0;
        loop {
            let died = virtually(shop("ok", "ok"), 39, async |story| {
                release(story, "1.0.0").await;
                release(story, "1.1.0").await;
                let first = story.written.load(Ordering::SeqCst);
                *story.dies.lock().unwrap() = Some((first + at, stored));
                let life = story.bring_back(&Told::default()).await;
                *story.dies.lock().unwrap() = None;
                if life != Life::Died {
                    return false;
                }
                let after = story.go_on(None, &Told::default()).await;
                story.rest().await;
                match after {
                    Life::Ended(Ending::Deployed) => {
                        assert_eq!(jobs(story, "east"), ["unmigrate-r2 1.1.0 Complete"], "record {at}");
                        assert_eq!(story.pods_made("east", "unmigrate-r2"), 1, "record {at}");
                    }
                    Life::Refused(failure) => assert_eq!(failure.code.0, 614, "record {at}: {failure:?}"),
                    other => panic!("record {at}: {other:?}"),
                }
                true
            });
            if !died {
                break;
            }
            at += 2;
        }
        assert!(at > 10, "the story has more records than {at}");
    }
}

#[test]
fn a_run_that_dies_while_it_turns_back_runs_its_job_once() {
    for seconds in (1..40).step_by(3) {
        virtually(shop("ok", "ok"), 40, async |story| {
            release(story, "1.0.0").await;
            let told = Told::default();
            let turned = async {
                loop {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    let events = told.0.lock().unwrap();
                    if events.iter().any(|event| matches!(event.kind, Kind::RollbackStarted { .. })) {
                        break;
                    }
                }
                tokio::time::sleep(Duration::from_secs(seconds)).await;
            };
            let over = tokio::select! {
                life = story.deploy("2.0.0-crash", &told) => Some(life),
                () = turned => None,
            };
            if over.is_none() {
                let life = story.go_on(Some("taken back"), &Told::default()).await;
                assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{seconds}: {life:?}");
            }
            story.rest().await;
            assert_eq!(jobs(story, "west"), ["unmigrate-r2 2.0.0-crash Complete"], "{seconds}");
            assert_eq!(story.pods_made("west", "unmigrate-r2"), 1, "{seconds}");
        });
    }
}

#[test]
fn a_rollback_says_what_it_runs_and_what_it_does_not_undo() {
    virtually(shop("ok", "ok"), 41, async |story| {
        for version in ["1.0.0", "1.1.0", "1.2.0"] {
            release(story, version).await;
        }
        story.forget_release("west", 2).await;
        let request = story.request("", Some(prepare::Rollback::To(deployctl::domain::ids::Revision(1))));
        let plan = prepare::plan(&story.doors, &request).await.unwrap();
        assert_eq!(
            plan.not_undone,
            ["west: what Jobs of r2 did, if it had any, is not undone: its record is gone"]
        );
        let back = plan.stages.iter().find(|stage| stage.id == "w1-jobs-back").unwrap();
        let steps: Vec<String> =
            back.steps.iter().map(|step| format!("{} {}", step.target, step.title)).collect();
        assert_eq!(
            steps,
            [
                "west run Job/unmigrate-r3, which undoes Jobs of r3 (1.2.0)",
                "east run Job/unmigrate-r3, which undoes Jobs of r3 (1.2.0)",
                "east run Job/unmigrate-r2, which undoes Jobs of r2 (1.1.0)",
            ]
        );
    });
}

#[test]
fn a_rollback_to_what_was_left_before_is_a_way_forward_and_migrates_again() {
    virtually(shop("ok", "ok"), 42, async |story| {
        release(story, "1.0.0").await;
        release(story, "1.1.0").await;
        assert_eq!(story.bring_back(&Told::default()).await, Life::Ended(Ending::Deployed));
        story.rest().await;
        assert_eq!(jobs(story, "east"), ["unmigrate-r2 1.1.0 Complete"]);
        // Into r2 again, as r4: its migration runs, and has its own way back.
        assert_eq!(story.bring_back_to(2, &Told::default()).await, Life::Ended(Ending::Deployed));
        story.rest().await;
        assert_eq!(jobs(story, "east"), ["migrate 1.1.0 Complete"]);
        assert_eq!(story.bring_back_to(1, &Told::default()).await, Life::Ended(Ending::Deployed));
        story.rest().await;
        assert_eq!(jobs(story, "east"), ["unmigrate-r4 1.1.0 Complete"]);
    });
}

/// From the first Job on, neither an interrupt nor a `rollback` of the rollback leads to the release whose schema is gone.
#[test]
fn nothing_turns_round_once_a_job_of_the_way_back_was_begun() {
    let (mut stayed, mut turned) = (0, 0);
    for (seconds, dies) in (2..20).step_by(2).flat_map(|seconds| [(seconds, false), (seconds, true)]) {
        virtually(shop("ok", "ok"), 43, async |story| {
            release(story, "1.0.0").await;
            release(story, "1.1.0").await;
            let request = story.request("", Some(prepare::Rollback::Previous));
            let plan = prepare::plan(&story.doors, &request).await.unwrap();
            let (told, after) = (Told::default(), Duration::from_secs(seconds));
            let life = if dies {
                tokio::select! {
                    life = story.new_run(&plan, &told, None) => life,
                    () = tokio::time::sleep(after) => Life::Died,
                }
            } else {
                story.new_run(&plan, &told, Some(after)).await
            };
            let begun = !jobs(story, "east").iter().all(|job| job.starts_with("migrate"));
            let life = match life {
                Life::Died => story.go_on(Some("taken back"), &Told::default()).await,
                // Interrupted: it rests where it is.
                Life::Ended(Ending::Interrupted) => {
                    stayed += 1;
                    story.go_on(None, &Told::default()).await
                }
                life => life,
            };
            story.rest().await;
            let older = story.sizes("east")["db-r1"];
            match life {
                Life::Ended(Ending::Deployed) => assert_eq!(older, 2, "{seconds} {dies}"),
                Life::Ended(Ending::RolledBack { .. }) => {
                    assert!(!begun, "{seconds} {dies}: {:?}", jobs(story, "east"));
                    turned += 1;
                }
                other => panic!("{seconds} {dies}: {other:?}"),
            }
        });
    }
    assert!(stayed > 0 && turned > 0, "{stayed} {turned}");
}
