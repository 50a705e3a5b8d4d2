//! Regions that give no answer: the others do not wait, what is owed is on record, and it is paid later.

use crate::support::{Life, Story, Told, environment, virtually};
use deployctl::domain::event::Kind;
use deployctl::domain::ids::TargetId;
use deployctl::domain::release::{Outcome, Release};
use deployctl::ports::state::RecordKind;
use deployctl::run::journal::Phase;
use deployctl::run::prepare::{self, Request, Rollback};
use deployctl::run::{Ending, World, debts, releases, unfinished};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Release r1 (1.0.0) everywhere, and users for a while.
async fn begin(story: &Story) {
    assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
    tokio::time::sleep(Duration::from_mins(2)).await;
    story.world.mark_stable();
}

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

fn goes_away(story: &Story, target: &str, seconds: u64) {
    story.world.add_fault(&format!("api-down:{seconds}:{target}@0s").parse().unwrap());
}

fn of(objects: &BTreeMap<String, String>, target: &str) -> BTreeMap<String, String> {
    let own = objects.iter().filter(|(name, _)| name.starts_with(&format!("{target} ")));
    own.map(|(name, facts)| (name.clone(), facts.clone())).collect()
}

async fn histories(world: &World) -> BTreeMap<TargetId, Vec<Release>> {
    let mut histories = BTreeMap::new();
    for (target, site) in &world.sites {
        let history = releases::history(target, site.state.as_ref()).await.unwrap();
        histories.insert(target.clone(), history);
    }
    histories
}

/// The region is lost while the run goes on, at many moments; it stays away for ten minutes. The other one is back on
/// what served before long before that, and `resume` does the rest.
#[test]
fn a_region_that_is_lost_does_not_keep_the_other_from_going_back() {
    for (lost, other) in [("west", "east"), ("east", "west")] {
        for after in [35, 100, 190] {
            virtually(environment("canary"), 23, async |story| {
                begin(story).await;
                let before = story.objects();
                let told = Told::default();
                let away = async {
                    seconds(after).await;
                    goes_away(story, lost, 600);
                };
                let (life, ()) = tokio::join!(story.deploy("1.1.0", &told), away);
                let place = format!("{lost} after {after} s");
                let elsewhere = story.elsewhere().but(&[TargetId::from(lost)]);
                let run = unfinished::latest(&elsewhere).await.unwrap().unwrap();
                assert_eq!(of(&story.objects(), other), of(&before, other), "{place}: {life:?}");
                match life {
                    Life::Ended(Ending::Unknown { cause }) => {
                        assert!(cause.contains(&format!("not taken back on {lost}")), "{place}: {cause}");
                        assert_eq!(run.owed(), [TargetId::from(lost)], "{place}");
                        let told = told.0.lock().unwrap();
                        let Kind::RunFinished { owed, next, .. } = &told.last().unwrap().kind else {
                            panic!("{place}: the last word is how it ended")
                        };
                        assert_eq!(owed, &[TargetId::from(lost)], "{place}");
                        assert_eq!(next, &["deployctl resume canary"], "{place}");
                    }
                    // Nothing had been begun in the lost one.
                    Life::Ended(Ending::RolledBack { .. }) => assert!(!run.is_unfinished(), "{place}"),
                    other => panic!("{place}: {other:?}"),
                }
                seconds(600).await;
                if run.is_unfinished() {
                    let life = story.go_on(None, &Told::default()).await;
                    assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{place}: {life:?}");
                }
                story.rest().await;
                assert_eq!(story.objects(), before, "{place}");
                let run = unfinished::latest(&story.doors).await.unwrap().unwrap();
                assert!(!run.is_unfinished(), "{place}");
            });
        }
    }
}

/// One region only: nobody can say anything, nothing is written, and the run goes on when somebody resumes it.
#[test]
fn where_no_other_region_is_left_the_run_stops_and_resume_goes_on() {
    virtually(environment("canary"), 24, async |story| {
        begin(story).await;
        let away = async {
            seconds(130).await;
            goes_away(story, "east", 900);
            goes_away(story, "west", 900);
        };
        let told = Told::default();
        let (life, ()) = tokio::join!(story.deploy("1.1.0", &told), away);
        assert!(matches!(life, Life::Ended(Ending::Unknown { .. })), "{life:?}");
        seconds(1800).await;
        let run = unfinished::latest(&story.doors).await.unwrap().unwrap();
        assert!(run.is_unfinished());
        let life = story.go_on(None, &Told::default()).await;
        assert!(matches!(life, Life::Ended(_)), "{life:?}");
        story.rest().await;
    });
}

/// The story of an outage: the process dies, a region is away, the operator rolls back, releases to the other, and pays.
#[test]
fn a_region_that_comes_back_adopts_the_rollback_and_gets_the_release_that_it_missed() {
    virtually(environment("canary"), 25, async |story| {
        begin(story).await;
        let before = story.objects();
        let dies = async {
            seconds(130).await;
            *story.dies.lock().unwrap() = Some((story.written.load(Ordering::SeqCst), true));
        };
        let told = Told::default();
        let (life, ()) = tokio::join!(story.deploy("1.1.0", &told), dies);
        assert_eq!(life, Life::Died);
        *story.dies.lock().unwrap() = None;
        goes_away(story, "west", 3600);
        seconds(60).await;

        let silent = prepare::silent(&story.doors).await.unwrap();
        assert_eq!(silent.keys().map(ToString::to_string).collect::<Vec<_>>(), ["west"]);
        let life = story.take_back_what_answers(&["west"], &Told::default()).await;
        let Life::Ended(Ending::Unknown { cause }) = life else { panic!("{life:?}") };
        assert_eq!(cause, "taken back; not taken back on west, which gives no answer (no contact)");
        assert_eq!(of(&story.objects(), "east"), of(&before, "east"));

        // The run bars the way for a release to both, and none for one that leaves the west out.
        let (others, owed) = story.without(&["west"], "1.2.0");
        let run = unfinished::latest(&others.doors).await.unwrap().unwrap();
        assert!(run.is_unfinished() && run.bars(&story.doors) && !run.bars(&others.doors));
        let mut plan = others.plan("1.2.0").await;
        debts::owe_release(&mut plan, owed);
        assert_eq!(
            plan.warnings.last().unwrap(),
            "west is left out and owed r3 (1.2.0): deployctl resume canary brings it there once it answers"
        );
        others.world.mark_stable();
        let life = others.new_run(&plan, &Told::default(), None).await;
        assert_eq!(life, Life::Ended(Ending::Deployed));
        let owed = debts::open(&histories(&others.doors).await);
        assert_eq!(owed.iter().map(|(t, d)| format!("{t}: {d}")).collect::<Vec<_>>(), ["west: r3 (1.2.0)"]);

        // It is back, in the middle of a run that the others have left behind.
        seconds(3600).await;
        assert!(story.sizes("west").contains_key("api-r2"), "the west is in the middle of r2");
        let left = unfinished::left_behind(&story.doors).await.unwrap();
        assert_eq!(left.keys().map(ToString::to_string).collect::<Vec<_>>(), ["west"]);
        let east = of(&story.objects(), "east");
        let again = unfinished::again(&story.doors, &left[&"west".into()]).await.unwrap();
        assert!(again.is_unfinished() && again.plan == left[&"west".into()].plan);
        let life = story.take_back(&left[&"west".into()], &BTreeMap::new(), &Told::default()).await;
        assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{life:?}");
        story.rest().await;
        assert_eq!(of(&story.objects(), "west"), of(&before, "west"));
        assert_eq!(of(&story.objects(), "east"), east, "nothing is done where nothing is owed");
        assert!(unfinished::left_behind(&story.doors).await.unwrap().is_empty());

        let west = story.without(&["east"], "1.2.0").0;
        let plan = paying(&west, &story.doors, "west").await;
        assert_eq!(plan.revision.0, 3, "the very number that the others have");
        assert_eq!(west.new_run(&plan, &Told::default(), None).await, Life::Ended(Ending::Deployed));
        story.rest().await;
        assert_eq!(story.sizes("west")["api-r3"], 4);
        let all = histories(&story.doors).await;
        assert!(debts::open(&all).is_empty());
        let paid = all[&"west".into()].last().unwrap();
        assert_eq!((paid.version.as_str(), paid.revision.0, paid.outcome), ("1.2.0", 3, Outcome::Deployed));
        assert!(unfinished::left_behind(&story.doors).await.unwrap().is_empty());
    });
}

/// The plan that pays what a target is owed.
async fn paying(there: &Story, everywhere: &World, target: &str) -> deployctl::plan::Plan {
    use deployctl::domain::release::Due;
    let owed = debts::open(&histories(everywhere).await);
    let debt = &owed[&target.into()];
    let mut request: Request<'_> = there.request(&debt.version, None);
    request.floor = debt.revision;
    match &debt.due {
        Due::Release { objects, .. } => {
            request.rendered = BTreeMap::from([(target.into(), objects.clone())]);
        }
        Due::Back { to } => request.rollback = Some(Rollback::To(*to)),
    }
    let mut plan = prepare::plan(&there.doors, &request).await.unwrap();
    debts::pay(&mut plan, &target.into(), &owed);
    plan
}

#[test]
fn a_region_that_missed_a_rollback_is_owed_the_way_back() {
    virtually(environment("canary"), 26, async |story| {
        begin(story).await;
        let before = story.objects();
        assert_eq!(story.deploy("1.1.0", &Told::default()).await, Life::Ended(Ending::Deployed));
        goes_away(story, "west", 1800);
        let (others, _) = story.without(&["west"], "1.1.0");
        let request = others.request("", Some(Rollback::Previous));
        let mut plan = prepare::plan(&others.doors, &request).await.unwrap();
        debts::owe_way_back(&mut plan, ["west".into()]);
        assert_eq!(others.new_run(&plan, &Told::default(), None).await, Life::Ended(Ending::Deployed));
        seconds(1800).await;
        let west = story.without(&["east"], "1.1.0").0;
        let plan = paying(&west, &story.doors, "west").await;
        assert_eq!(plan.rollback_of.map(|revision| revision.0), Some(1));
        assert_eq!(west.new_run(&plan, &Told::default(), None).await, Life::Ended(Ending::Deployed));
        story.rest().await;
        for target in ["east", "west"] {
            assert_eq!(story.sizes(target)["api-r1"], 4, "{target}");
            assert_eq!(story.sizes(target)["api-r2"], 0, "{target}");
        }
        assert!(debts::open(&histories(&story.doors).await).is_empty());
        assert_eq!(before["west Service/web"], story.objects()["west Service/web"]);
    });
}

/// A debt that nobody paid is settled by the next release that goes there, and by a rollback to what it has.
#[test]
fn what_is_owed_is_settled_by_whatever_brings_the_target_to_where_the_others_are() {
    virtually(environment("canary"), 27, async |story| {
        begin(story).await;
        let (others, owed) = story.without(&["west"], "1.1.0");
        let mut plan = others.plan("1.1.0").await;
        debts::owe_release(&mut plan, owed);
        assert_eq!(others.new_run(&plan, &Told::default(), None).await, Life::Ended(Ending::Deployed));
        let all = histories(&story.doors).await;
        assert_eq!(debts::open(&all).len(), 1);
        // `rollback` leaves the west where it is: it never had the release that goes back.
        let stay = debts::before_already(&all);
        assert_eq!(stay[&"west".into()], "it never had r2 (1.1.0), which it is owed");
        let life = story.deploy("1.2.0", &Told::default()).await;
        assert_eq!(life, Life::Ended(Ending::Deployed));
        assert!(debts::open(&histories(&story.doors).await).is_empty());
    });
}

/// `rollback` after a held release: who kept it goes back, who is back already stays.
#[test]
fn a_held_release_goes_back_only_where_it_is() {
    let mut env = environment("canary");
    env.on_failure = deployctl::domain::environment::OnFailure::Hold;
    virtually(env, 19, async |story| {
        begin(story).await;
        let before = story.objects();
        let life = story.deploy("1.1.0-err40", &Told::default()).await;
        assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{life:?}");
        let stay = debts::before_already(&histories(&story.doors).await);
        let told: Vec<String> = stay.iter().map(|(target, why)| format!("{target}: {why}")).collect();
        assert_eq!(told, ["east: it went back when 1.1.0-err40 failed, which west kept"]);
        let (west, _) = story.without(&["east"], "1.0.0");
        assert_eq!(west.bring_back(&Told::default()).await, Life::Ended(Ending::Deployed));
        story.rest().await;
        assert_eq!(story.sizes("west")["api-r1"], 4);
        assert_eq!(of(&story.objects(), "east"), of(&before, "east"));
        assert!(debts::before_already(&histories(&story.doors).await).is_empty());
    });
}

/// A plan with debts reads back as it was, and one without any is as an older deployctl wrote it.
#[test]
fn debts_go_with_the_plan() {
    virtually(environment("canary"), 28, async |story| {
        begin(story).await;
        let (others, owed) = story.without(&["west"], "1.1.0");
        let mut plan = others.plan("1.1.0").await;
        let text = String::from_utf8(deployctl::plan::file::write(&plan)).unwrap();
        assert!(!text.contains("\"owed\"") && !text.contains("\"pays\""));
        debts::owe_release(&mut plan, owed);
        let read = deployctl::plan::file::read("it", &deployctl::plan::file::write(&plan)).unwrap();
        assert_eq!(read.owed, plan.owed);
        let stored = story.doors.sites[&"east".into()].state.list(RecordKind::Plan, "").await.unwrap();
        assert_eq!(stored.len(), 1);
        assert!(!matches!(
            unfinished::latest(&story.doors).await.unwrap().unwrap().replayed.phase,
            Phase::Aborting { .. }
        ));
    });
}
