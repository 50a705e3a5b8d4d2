//! A run that operators speak to from another machine, while it goes on.

use crate::support::{Life, Story, Told, environment, virtually};
use deployctl::domain::error::{Code, Failure};
use deployctl::domain::event::{Event, Kind};
use deployctl::domain::intent::Wish;
use deployctl::domain::release::Actor;
use deployctl::ports::state::RecordKind;
use deployctl::run::Ending;
use deployctl::run::intents::{self, End, Live};
use deployctl::run::{World, unfinished};
use std::collections::BTreeMap;
use std::time::Duration;

/// Release r1 (1.0.0) everywhere, and users for a while.
async fn begin(story: &Story) {
    assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
    tokio::time::sleep(Duration::from_mins(2)).await;
    story.world.mark_stable();
}

async fn ask(doors: &World, wish: Wish) -> Result<Live, Failure> {
    let live = intents::live(doors, "canary").await?;
    let by = Actor { user: "bo".into(), host: "phone".into(), ci: None };
    intents::ask(doors, &live, wish, by, Some("tickets".into())).await?;
    Ok(live)
}

fn abort() -> Wish {
    Wish::Abort { superseded_by: None }
}

impl Told {
    fn first(&self, is: impl Fn(&Kind) -> bool) -> Option<Event> {
        self.0.lock().unwrap().iter().find(|event| is(&event.kind)).cloned()
    }

    fn seconds(&self) -> i64 {
        let told = self.0.lock().unwrap();
        told.last().unwrap().at.duration_since(told.first().unwrap().at).as_secs()
    }
}

/// `1.1.0` while an operator does this from another machine.
async fn deploy_while<T>(story: &Story, told: &Told, operator: impl AsyncFnOnce(World) -> T) -> (Life, T) {
    let doors = story.elsewhere();
    tokio::join!(story.deploy("1.1.0", told), operator(doors))
}

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[test]
fn an_abort_from_elsewhere_takes_everything_back_within_a_second() {
    virtually(environment("canary"), 5, async |story| {
        begin(story).await;
        let (before, told) = (story.objects(), Told::default());
        let (life, end) = deploy_while(story, &told, async |doors| {
            seconds(150).await;
            let live = ask(&doors, abort()).await.unwrap();
            intents::ended(&doors, &live).await
        })
        .await;
        let cause = "aborted by bo@phone: tickets".to_owned();
        assert_eq!(life, Life::Ended(Ending::RolledBack { cause }));
        assert_eq!(end, End::Ended("rolled-back".into()));
        let asked = told.first(|kind| matches!(kind, Kind::Asked { wish: "abort", .. })).unwrap();
        let turned = told.first(|kind| matches!(kind, Kind::RollbackStarted { .. })).unwrap();
        let Kind::Asked { asked, .. } = asked.kind else { unreachable!() };
        assert!(turned.at.duration_since(asked).as_millis() < 1000, "{asked} → {}", turned.at);
        story.rest().await;
        assert_eq!(story.objects(), before);
        // What was asked is on record: in the journal, and in the release.
        let run = unfinished::latest(&story.doors).await.unwrap().unwrap();
        assert_eq!(run.replayed.asked.len(), 1);
        let site = &story.doors.sites[&"east".into()];
        let releases = deployctl::run::releases::history(&"east".into(), site.state.as_ref()).await.unwrap();
        assert!(releases.last().unwrap().asked[0].ends_with("abort by bo@phone: tickets"));
    });
}

#[test]
fn a_paused_run_keeps_its_weight_its_lock_and_its_clock_until_it_is_resumed() {
    virtually(environment("canary"), 6, async |story| {
        begin(story).await;
        let told = Told::default();
        let (life, sizes) = deploy_while(story, &told, async |doors| {
            seconds(125).await;
            ask(&doors, Wish::Pause).await.unwrap();
            // Longer than the run may take, and much longer than the lock lasts.
            seconds(2 * 3600).await;
            let sizes = story.sizes("east");
            assert!(intents::live(&doors, "canary").await.unwrap().orders().pause.is_some());
            ask(&doors, Wish::Resume).await.unwrap();
            sizes
        })
        .await;
        assert_eq!(life, Life::Ended(Ending::Deployed));
        assert_eq!((sizes["api-r1"], sizes["api-r2"]), (4, 1), "at the first weight");
        let held = told.first(
            |kind| matches!(kind, Kind::StepProgress { detail, .. } if detail.contains("paused by bo@phone")),
        );
        assert!(held.is_some(), "the hold says who stopped its clock");
        assert!(told.seconds() > 2 * 3600 + 180, "the clock went on where it stood: {}", told.seconds());
    });
}

#[test]
fn a_promote_ends_the_hold_that_its_asker_saw_and_full_ends_them_all() {
    let took = |wish: Option<fn(&Live) -> Wish>| {
        virtually(environment("canary"), 7, async |story| {
            begin(story).await;
            let told = Told::default();
            let (life, ()) = deploy_while(story, &told, async |doors| {
                seconds(90).await;
                if let Some(wish) = wish {
                    let live = intents::live(&doors, "canary").await.unwrap();
                    assert_eq!(live.stage().unwrap().id, "w2-hold-20");
                    ask(&doors, wish(&live)).await.unwrap();
                }
            })
            .await;
            assert_eq!(life, Life::Ended(Ending::Deployed));
            story.rest().await;
            assert_eq!(story.sizes("east")["api-r2"], 4);
            told.seconds()
        })
    };
    let whole = took(None);
    let one = took(Some(|live| Wish::Promote { stage: live.stage().unwrap().id.clone() }));
    let full = took(Some(|_| Wish::PromoteFull));
    assert!((30..=60).contains(&(whole - one)), "one hold of a minute: {whole} and {one}");
    assert!(full < one - 60, "all holds: {full}, {one}");
}

#[test]
fn abort_beats_promote_and_reaches_the_run_through_any_target() {
    virtually(environment("canary"), 8, async |story| {
        begin(story).await;
        let before = story.objects();
        let (life, silent) = deploy_while(story, &Told::default(), async |doors| {
            seconds(140).await;
            ask(&doors, Wish::PromoteFull).await.unwrap();
            story.world.add_fault(&"api-down:30:east@0s".parse().unwrap());
            seconds(1).await;
            ask(&doors, abort()).await.unwrap().silent
        })
        .await;
        assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{life:?}");
        assert_eq!(silent.keys().map(ToString::to_string).collect::<Vec<_>>(), ["east"]);
        story.rest().await;
        assert_eq!(story.objects(), before);
    });
}

#[test]
fn nobody_is_asked_when_no_run_goes_on_or_its_process_is_gone() {
    virtually(environment("canary"), 9, async |story| {
        begin(story).await;
        let doors = story.elsewhere();
        assert_eq!(ask(&doors, abort()).await.unwrap_err().code, Code(623));
        let first = story.written.load(std::sync::atomic::Ordering::SeqCst);
        *story.dies.lock().unwrap() = Some((first + 12, true));
        assert_eq!(story.deploy("1.1.0", &Told::default()).await, Life::Died);
        *story.dies.lock().unwrap() = None;
        // For as long as its lock lasts nobody can tell; then it is said.
        seconds(60).await;
        let failure = ask(&doors, abort()).await.unwrap_err();
        assert_eq!(failure.code, Code(624));
        assert_eq!(failure.next, ["deployctl resume canary", "deployctl rollback canary"]);
    });
}

/// A wish that nobody obeyed in time is not lost: whoever goes on with the run reads it. A pause dies with its process.
#[test]
fn whoever_resumes_a_run_finds_an_abort_and_forgets_a_pause() {
    for (wish, deployed) in [(abort(), false), (Wish::Pause, true)] {
        virtually(environment("canary"), 10, async |story| {
            begin(story).await;
            let doors = story.elsewhere();
            let dies = async {
                seconds(118).await;
                let live = intents::live(&doors, "canary").await.unwrap();
                let first = story.written.load(std::sync::atomic::Ordering::SeqCst);
                *story.dies.lock().unwrap() = Some((first, true));
                live
            };
            let told = Told::default();
            let (life, spoken_to) = tokio::join!(story.deploy("1.1.0", &told), dies);
            assert_eq!(life, Life::Died);
            *story.dies.lock().unwrap() = None;
            let by = Actor { user: "bo".into(), host: "phone".into(), ci: None };
            intents::ask(&doors, &spoken_to, wish.clone(), by, None).await.unwrap();
            let life = story.go_on(None, &Told::default()).await;
            assert_eq!(life == Life::Ended(Ending::Deployed), deployed, "{wish:?}: {life:?}");
        });
    }
}

#[test]
fn wishes_go_with_the_journal_of_their_run() {
    virtually(environment("canary"), 12, async |story| {
        begin(story).await;
        deploy_while(story, &Told::default(), async |doors| {
            seconds(120).await;
            ask(&doors, Wish::PromoteFull).await.unwrap();
        })
        .await;
        let count = async || {
            let mut count = BTreeMap::new();
            for (target, site) in &story.doors.sites {
                count
                    .insert(target.to_string(), site.state.list(RecordKind::Intent, "").await.unwrap().len());
            }
            count
        };
        let all = |n: usize| BTreeMap::from([("east".to_owned(), n), ("west".to_owned(), n)]);
        assert_eq!(count().await, all(1));
        unfinished::forget_old(&story.doors, 1).await.unwrap();
        assert_eq!(count().await, all(1), "the newest run is kept");
        unfinished::forget_old(&story.doors, 0).await.unwrap();
        assert_eq!(count().await, all(0));
    });
}

/// The shop with a person at 20 % and before the second wave.
fn guarded() -> deployctl::domain::Environment {
    use deployctl::domain::effect::Approval;
    use deployctl::domain::environment::Strategy;
    let mut env = environment("canary");
    let within = Duration::from_mins(30);
    env.approve_waves = Some(Approval { within });
    for component in &mut env.components {
        if let Strategy::Canary(canary) = &mut component.strategy {
            canary.steps[0].approve = Some(Approval { within });
        }
    }
    env
}

/// Waits until the run stands at this stage, and that long on.
async fn until(doors: &World, stage: &str, more: u64) -> Live {
    loop {
        seconds(5).await;
        if let Ok(live) = intents::live(doors, "canary").await
            && live.stage().is_some_and(|present| present.id == stage)
        {
            seconds(more).await;
            return live;
        }
    }
}

#[test]
fn a_run_waits_for_each_approval_and_no_promote_stands_for_one() {
    virtually(guarded(), 14, async |story| {
        begin_guarded(story).await;
        let told = Told::default();
        let (life, ()) = deploy_while(story, &told, async |doors| {
            until(&doors, "w1-bake", 600).await;
            ask(&doors, Wish::PromoteFull).await.unwrap();
            let live = until(&doors, "w1-bake", 600).await;
            assert_eq!(story.sizes("east")["api-r1"], 4, "the second wave has not begun");
            ask(&doors, Wish::Approve { stage: live.stage().unwrap().id.clone() }).await.unwrap();
            until(&doors, "w2-hold-20", 600).await;
            ask(&doors, Wish::Approve { stage: "w2-hold-20".into() }).await.unwrap();
        })
        .await;
        assert_eq!(life, Life::Ended(Ending::Deployed));
        let waits = |kind: &Kind| matches!(kind, Kind::StepProgress { detail, .. } if detail.contains("deployctl approve canary"));
        assert!(told.first(waits).is_some(), "the run says what it waits for");
        let approved = |kind: &Kind| matches!(kind, Kind::StepFinished { detail, .. } if detail.contains("approved by bo@phone"));
        assert!(told.first(approved).is_some(), "and who gave it");
    });
}

async fn begin_guarded(story: &Story) {
    let first = async |doors: World| {
        until(&doors, "w1-bake", 40).await;
        ask(&doors, Wish::Approve { stage: "w1-bake".into() }).await.unwrap();
    };
    let told = Told::default();
    let (life, ()) = tokio::join!(story.deploy("1.0.0", &told), first(story.elsewhere()));
    assert_eq!(life, Life::Ended(Ending::Deployed));
    tokio::time::sleep(Duration::from_mins(2)).await;
    story.world.mark_stable();
}

#[test]
fn what_nobody_approves_in_time_is_rolled_back() {
    virtually(guarded(), 15, async |story| {
        begin_guarded(story).await;
        let before = story.objects();
        let life = story.deploy("1.1.0", &Told::default()).await;
        let Life::Ended(Ending::RolledBack { cause }) = life else { panic!("{life:?}") };
        assert_eq!(cause, "west: nobody approved within 30m");
        story.rest().await;
        assert_eq!(story.objects(), before);
    });
}

/// The standby has no gates; the live target bakes until its gated component was asked often enough.
#[test]
fn a_bake_waits_for_its_requests_and_gives_up_in_the_end() {
    for (requests, good) in [(3000, true), (1_000_000, false)] {
        let mut env = environment("canary");
        env.waves.reverse();
        env.bake.requests = requests;
        virtually(env, 16, async |story| {
            begin(story).await;
            let told = Told::default();
            let life = story.deploy("1.1.0", &told).await;
            assert_eq!(life == Life::Ended(Ending::Deployed), good, "{life:?}");
            let held = |kind: &Kind| matches!(kind, Kind::StepProgress { detail, .. } if detail.contains("requests since the hold began"));
            assert!(told.first(held).is_some(), "{requests}");
        });
    }
}

/// What somebody sees who follows the run from its journals alone, of a run that ends well and one that does not.
#[test]
fn the_journals_tell_the_story_of_a_run_to_its_end() {
    use deployctl::run::journal;
    use deployctl::run::story::Story as Journals;
    for (version, outcome) in [("1.1.0", "deployed"), ("1.1.0-err40", "rolled-back")] {
        virtually(environment("canary"), 18, async |story| {
            begin(story).await;
            let told = Told::default();
            story.deploy(version, &told).await;
            let run = unfinished::latest(&story.doors).await.unwrap().unwrap();
            let mut entries = Vec::new();
            for (target, site) in &story.doors.sites {
                let prefix = format!("{}.", run.plan.run);
                for record in site.state.list(RecordKind::Journal, &prefix).await.unwrap() {
                    let entry = journal::entry(&record).unwrap();
                    entries.push((entry.at, record.name, target.clone(), entry));
                }
            }
            entries.sort_by(|a, b| (a.0, &a.1, &a.2).cmp(&(b.0, &b.1, &b.2)));
            let mut journals = Journals::new(&run.plan);
            let events: Vec<Event> = entries.iter().flat_map(|(.., entry)| journals.take(entry)).collect();
            assert_eq!(journals.outcome(), Some(outcome));
            let names = |events: &[Event]| {
                let steps = |event: &Event| match &event.kind {
                    Kind::StepStarted { step, .. } => Some(format!("began {step}")),
                    Kind::StepFinished { step, .. } => Some(format!("did {step}")),
                    Kind::StepUndone { step, .. } => Some(format!("undid {step}")),
                    _ => None,
                };
                let mut names: Vec<String> = events.iter().filter_map(steps).collect();
                names.sort();
                names
            };
            if outcome == "deployed" {
                assert_eq!(names(&events), names(&told.0.lock().unwrap()));
            }
            let ends = events.iter().filter(|event| matches!(event.kind, Kind::RunFinished { .. })).count();
            assert_eq!(ends, 1);
        });
    }
}

/// The standby was fine, the live region is not: what was done stays, what failed goes back, and both say so.
#[test]
fn a_wave_that_fails_leaves_earlier_ones_where_they_are_if_so_wanted() {
    let mut env = environment("canary");
    env.on_failure = deployctl::domain::environment::OnFailure::Hold;
    virtually(env, 19, async |story| {
        begin(story).await;
        let told = Told::default();
        let life = story.deploy("1.1.0-err40", &told).await;
        assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{life:?}");
        story.rest().await;
        let (east, west) = (story.sizes("east"), story.sizes("west"));
        assert_eq!((east["api-r1"], east.get("api-r2")), (4, None), "the wave that failed is back");
        assert_eq!((west["api-r1"], west["api-r2"]), (0, 4), "the wave before keeps the release");
        let end = told.first(|kind| matches!(kind, Kind::RunFinished { .. })).unwrap();
        let Kind::RunFinished { kept, next, .. } = end.kind else { unreachable!() };
        assert_eq!(kept, ["west".into()]);
        assert!(next.contains(&"deployctl rollback canary".to_owned()), "{next:?}");
        for (target, version) in [("east", "1.0.0"), ("west", "1.1.0-err40")] {
            let site = &story.doors.sites[&target.into()];
            let releases =
                deployctl::run::releases::history(&target.into(), site.state.as_ref()).await.unwrap();
            let deployed = |release: &&deployctl::domain::release::Release| {
                release.outcome == deployctl::domain::release::Outcome::Deployed
            };
            assert_eq!(releases.iter().rev().find(deployed).unwrap().version, version, "{target}");
        }
        // The next release goes everywhere again.
        story.world.mark_stable();
        assert_eq!(story.deploy("1.2.0", &Told::default()).await, Life::Ended(Ending::Deployed));
        story.rest().await;
        let objects = story.objects();
        for target in ["east", "west"] {
            let served = objects.iter().any(|(name, facts)| {
                name.starts_with(&format!("{target} Deployment/api-r"))
                    && facts.starts_with("4 ")
                    && facts.contains("example.com/api:1.2.0")
            });
            assert!(served, "{target}: {objects:?}");
        }
    });
}

/// Died on the way back: whoever goes on with it keeps what was kept.
#[test]
fn a_way_back_that_keeps_earlier_waves_is_finished_so_by_whoever_resumes_it() {
    let mut env = environment("canary");
    env.on_failure = deployctl::domain::environment::OnFailure::Hold;
    virtually(env, 20, async |story| {
        begin(story).await;
        let doors = story.elsewhere();
        let dies = async {
            loop {
                seconds(1).await;
                let run = unfinished::latest(&doors).await.unwrap().unwrap();
                if matches!(run.replayed.phase, deployctl::run::journal::Phase::Aborting { .. }) {
                    let first = story.written.load(std::sync::atomic::Ordering::SeqCst);
                    *story.dies.lock().unwrap() = Some((first, true));
                    return;
                }
            }
        };
        let told = Told::default();
        let (life, ()) = tokio::join!(story.deploy("1.1.0-err40", &told), dies);
        assert_eq!(life, Life::Died);
        *story.dies.lock().unwrap() = None;
        let life = story.go_on(None, &Told::default()).await;
        assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{life:?}");
        story.rest().await;
        assert_eq!((story.sizes("east")["api-r1"], story.sizes("west")["api-r2"]), (4, 4));
    });
}
