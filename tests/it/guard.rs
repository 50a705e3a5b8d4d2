//! The dead-man's switch: a run's process dies, and a guard elsewhere puts traffic on stable.

mod crashes;
mod manifest;

use crate::support::{Life, Story, Told, environment, virtually};
use async_trait::async_trait;
use deployctl::adapters::kubernetes::KubeCluster;
use deployctl::domain::Environment;
use deployctl::domain::event::Kind;
use deployctl::domain::ids::TargetId;
use deployctl::domain::intent::Wish;
use deployctl::domain::release::Actor;
use deployctl::domain::secret::{SecretRef, SecretValue};
use deployctl::ports::Clock;
use deployctl::ports::secrets::{SecretError, Secrets};
use deployctl::run::guard::{Guard, Pulse, Round};
use deployctl::run::journal::Phase;
use deployctl::run::preflight::{self, Level};
use deployctl::run::{Ending, Site, World, intents, unfinished, vigil};
use futures::future::LocalBoxFuture;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;

/// Release r1 (1.0.0) everywhere, and users for a while.
async fn begin(story: &Story) {
    assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
    tokio::time::sleep(Duration::from_mins(2)).await;
    story.world.mark_stable();
}

/// A guard reads no secret, whatever it does.
struct Sealed;

#[async_trait]
impl Secrets for Sealed {
    async fn read(&self, reference: &SecretRef) -> Result<SecretValue, SecretError> {
        panic!("the guard has read {reference}");
    }
}

/// Doors to these targets through clients that somebody else may have prepared.
fn doors(story: &Story, seed: u64, targets: &[&str], client: impl Fn(&str) -> kube::Client) -> World {
    doors_at(story, seed, targets, client, Arc::new(story.world.clock()))
}

/// The same doors by the clock of a machine of its own.
fn doors_at(
    story: &Story,
    seed: u64,
    targets: &[&str],
    client: impl Fn(&str) -> kube::Client,
    clock: Arc<dyn Clock>,
) -> World {
    let env = &story.env;
    let site = |target: &&str| {
        let cluster = KubeCluster::new(client(target), (*target).to_owned()).with_seed(seed);
        let (space, application, name) = (&env.state_namespace, &env.application, &env.name);
        let site = Site {
            state: Arc::new(cluster.state_store(space, application, name)),
            lock: Arc::new(cluster.lock(space, application, name, Arc::clone(&clock))),
            guard: Arc::new(cluster.guard_lock(space, application, name, Arc::clone(&clock))),
            cluster: Some(Arc::new(cluster)),
            cloud: None,
            compose: None,
        };
        (TargetId::from(*target), site)
    };
    World {
        sites: targets.iter().map(site).collect(),
        metrics: Arc::new(story.world.metrics()),
        probe: Arc::new(story.world.probe(None)),
        secrets: Arc::new(Sealed),
        clock,
    }
}

fn elsewhere(story: &Story, seed: u64, targets: &[&str]) -> World {
    doors(story, seed, targets, |target| kube::Client::new(story.world.api(target), "default"))
}

fn by(host: &str) -> Actor {
    Actor { user: "guard".into(), host: host.into(), ci: None }
}

/// Watches for ever.
async fn watching(story: &Story, world: &World, host: &str, told: &Told) {
    let (_stop, mut stopped) = watch::channel(false);
    let mut guard = Guard::new(&story.env, world, by(host), told);
    loop {
        guard.watch(&mut stopped).await;
    }
}

/// The work while a guard of both regions watches.
fn guarded<'a, T: 'a>(
    story: &'a Story,
    told: &'a Told,
    work: impl Future<Output = T> + 'a,
) -> LocalBoxFuture<'a, T> {
    Box::pin(async move {
        let world = elsewhere(story, 41, &["east", "west"]);
        tokio::select! {
            biased;
            value = work => value,
            () = watching(story, &world, "tower", told) => unreachable!("a guard watches on"),
        }
    })
}

fn alerts(told: &Told) -> Vec<(String, String)> {
    let events = told.0.lock().unwrap();
    let alerts = events.iter().filter_map(|event| match &event.kind {
        Kind::Alert { severity, message, .. } => Some(((*severity).to_owned(), message.clone())),
        _ => None,
    });
    alerts.collect()
}

fn has_acted(told: &Told) -> bool {
    alerts(told).iter().any(|(_, message)| message.contains("is on stable"))
}

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// A canary in the east whose process is gone.
async fn left_behind(story: &Story) {
    let told = Told::default();
    let life = tokio::time::timeout(Duration::from_secs(130), story.deploy("1.1.0", &told)).await;
    assert!(life.is_err(), "the process is gone");
}

/// The process dies at this record of the next run, before or after it is stored.
fn dies_at(story: &Story, at: usize, stored: bool) {
    let first = story.written.load(Ordering::SeqCst);
    *story.dies.lock().unwrap() = Some((first + at, stored));
}

/// What the guard leaves is what the first Ctrl-C leaves: the same steps taken back, the same objects.
#[test]
fn a_guard_leaves_what_an_interrupt_leaves() {
    let after = |interrupted: bool| {
        virtually(environment("canary"), 5, async |story| {
            begin(story).await;
            if interrupted {
                let life =
                    story.deploy_interrupted("1.1.0", &Told::default(), Some(Duration::from_secs(130))).await;
                assert_eq!(life, Life::Ended(Ending::Interrupted));
            } else {
                let watched = Told::default();
                guarded(story, &watched, async {
                    left_behind(story).await;
                    seconds(120).await;
                })
                .await;
                assert!(has_acted(&watched), "{:?}", alerts(&watched));
            }
            story.rest().await;
            let run = unfinished::latest(&story.doors).await.unwrap().unwrap();
            assert_eq!(run.replayed.phase, Phase::Interrupted);
            if let Some((at, what)) = &run.replayed.guarded {
                let line = what.line(*at);
                assert!(line.starts_with("guard (host tower) put traffic on stable at"), "{line}");
                assert!(line.contains("after the run's lease expired at"), "{line}");
            }
            assert_eq!(run.replayed.guarded.is_none(), interrupted);
            let held: Vec<_> =
                futures::future::join_all(story.doors.sites.values().map(|site| site.lock.inspect())).await;
            assert!(held.into_iter().all(|holder| holder.unwrap().is_none()), "the lock is given back");
            (run.replayed.status, story.objects())
        })
    };
    assert_eq!(after(false), after(true));
}

/// A guard gives a run back in a moment: whoever goes on with it waits for that instead of giving up.
#[test]
fn whoever_goes_on_waits_for_a_guard_that_is_at_work() {
    virtually(environment("canary"), 5, async |story| {
        begin(story).await;
        let watched = Told::default();
        guarded(story, &watched, async {
            left_behind(story).await;
            let plan = loop {
                match intents::live(&story.doors, "canary").await {
                    Ok(live) if vigil::is_guard(&live.holder) => break live.plan,
                    _ => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            };
            assert!(!has_acted(&watched), "it is at work: {:?}", alerts(&watched));
            vigil::until_guard_is_done(&story.doors, &plan).await;
            seconds(1).await;
            assert!(has_acted(&watched), "{:?}", alerts(&watched));
            assert_eq!(story.go_on(None, &Told::default()).await, Life::Ended(Ending::Deployed));
        })
        .await;
    });
}

/// Regions that are released to on their own have runs of their own: that a newer one goes on, or is over, elsewhere does not
/// hide one that died.
#[test]
fn each_target_is_watched_for_its_own_run() {
    virtually(environment("canary"), 5, async |story| {
        begin(story).await;
        let ((east, _), (west, _)) = (story.without(&["west"], "1.1.0"), story.without(&["east"], "1.1.0"));
        let watched = Told::default();
        guarded(story, &watched, async {
            let told = Told::default();
            let life = tokio::time::timeout(Duration::from_secs(90), east.deploy("1.1.0", &told)).await;
            assert!(life.is_err(), "the process is gone");
            assert_eq!(west.deploy("1.1.0", &Told::default()).await, Life::Ended(Ending::Deployed));
            seconds(120).await;
        })
        .await;
        assert!(has_acted(&watched), "{:?}", alerts(&watched));
        let run = unfinished::latest(&story.doors).await.unwrap().unwrap();
        assert!(run.plan.targets.keys().eq([&TargetId::from("east")]), "{}", run.plan.run);
        assert_eq!(run.replayed.phase, Phase::Interrupted);
        assert_eq!(
            unfinished::left_behind(&story.doors).await.unwrap().len(),
            0,
            "nobody went on without it"
        );
        assert_eq!(story.go_on(None, &Told::default()).await, Life::Ended(Ending::Deployed));
    });
}

/// A clock that is wrong, and trembles like one that is told by a server in whole seconds.
struct Wrong(Arc<dyn Clock>, i64);

impl Clock for Wrong {
    fn now(&self) -> jiff::Timestamp {
        self.0.now() + jiff::SignedDuration::from_secs(self.1)
    }
}

#[test]
fn a_guard_whose_clock_is_wrong_acts_all_the_same() {
    for wrong in [-45, 23] {
        virtually(environment("canary"), 6, async |story| {
            begin(story).await;
            let told = Told::default();
            let clock = Arc::new(Wrong(Arc::new(story.world.clock()), wrong));
            let client = |target: &str| kube::Client::new(story.world.api(target), "default");
            let world = doors_at(story, 43, &["east", "west"], client, clock);
            let work = async {
                left_behind(story).await;
                assert!(!has_acted(&told), "while the process lived: {:?}", alerts(&told));
                seconds(150).await;
            };
            tokio::select! {
                biased;
                () = work => {}
                () = watching(story, &world, "tower", &told) => unreachable!("a guard watches on"),
            }
            assert!(has_acted(&told), "{wrong} s: {:?}", alerts(&told));
        });
    }
}

/// A run that goes on is left alone, however long it is paused, and so is one that ended.
#[test]
fn a_run_whose_lease_is_alive_is_left_alone() {
    virtually(environment("canary"), 6, async |story| {
        begin(story).await;
        let watched = Told::default();
        guarded(story, &watched, async {
            let pauses = async {
                seconds(125).await;
                for (wish, wait) in [(Wish::Pause, 2 * 3600), (Wish::Resume, 0)] {
                    let live = intents::live(&story.doors, "canary").await.unwrap();
                    let ana = Actor { user: "ana".into(), host: "desk".into(), ci: None };
                    intents::ask(&story.doors, &live, wish, ana, None).await.unwrap();
                    seconds(wait).await;
                }
            };
            let told = Told::default();
            let (life, ()) = tokio::join!(story.deploy("1.1.0", &told), pauses);
            assert_eq!(life, Life::Ended(Ending::Deployed));
            seconds(3600).await;
        })
        .await;
        assert_eq!(alerts(&watched), []);
        assert_eq!(story.sizes("east")["api-r2"], 4);
    });
}

/// The server is away for longer than the lease lasts: whoever holds it shows that he lives before the guard takes it.
#[test]
fn a_run_that_outlives_an_outage_is_left_alone() {
    for seed in 5..9 {
        virtually(environment("canary"), seed, async |story| {
            begin(story).await;
            let watched = Told::default();
            guarded(story, &watched, async {
                let away = async {
                    seconds(130).await;
                    for target in ["east", "west"] {
                        story.world.add_fault(&format!("api-down:50:{target}@1s").parse().unwrap());
                    }
                };
                let told = Told::default();
                let (life, ()) = tokio::join!(story.deploy("1.1.0", &told), away);
                assert_eq!(life, Life::Ended(Ending::Deployed), "{:?}", alerts(&watched));
            })
            .await;
            assert!(!has_acted(&watched), "{:?}", alerts(&watched));
        });
    }
}

/// The machine of the run sleeps; when it wakes, the run finds itself fenced and writes nothing more.
#[test]
fn a_process_that_wakes_up_finds_itself_fenced() {
    virtually(environment("canary"), 5, async |story| {
        begin(story).await;
        let watched = Told::default();
        let told = Told::default();
        guarded(story, &watched, async {
            let mut run = Box::pin(story.deploy("1.1.0", &told));
            tokio::select! {
                biased;
                life = &mut run => panic!("{life:?}"),
                () = seconds(130) => {}
            }
            seconds(120).await;
            assert!(has_acted(&watched), "{:?}", alerts(&watched));
            let (stable, before) =
                (story.objects(), unfinished::latest(&story.doors).await.unwrap().unwrap());
            let life = run.await;
            assert!(matches!(life, Life::Ended(Ending::Unknown { .. })), "{life:?}");
            assert_eq!(story.objects(), stable);
            let after = unfinished::latest(&story.doors).await.unwrap().unwrap();
            assert_eq!(after.replayed.status, before.replayed.status);
        })
        .await;
        assert_eq!(story.go_on(None, &Told::default()).await, Life::Ended(Ending::Deployed));
    });
}

/// Two guards and an operator, all at the moment when the lock lapses: somebody wins, and nothing is corrupted.
#[test]
fn guards_and_operators_may_come_at_the_same_moment() {
    let mut winners = BTreeSet::new();
    for after in (30..=60).step_by(2) {
        virtually(environment("canary"), after, async |story| {
            begin(story).await;
            let before = story.objects();
            let (north, south) =
                (elsewhere(story, 41, &["east", "west"]), elsewhere(story, 42, &["west", "east"]));
            let (first, second) = (Told::default(), Told::default());
            let work = async {
                left_behind(story).await;
                seconds(after).await;
                loop {
                    match story.go_on(Some("taken back"), &Told::default()).await {
                        Life::Ended(Ending::RolledBack { .. }) => return,
                        // A guard is at work.
                        Life::Refused(failure) => assert_eq!(failure.code.0, 612, "{failure:?}"),
                        other => panic!("after {after} s: {other:?}"),
                    }
                    seconds(1).await;
                }
            };
            tokio::select! {
                biased;
                () = work => {}
                () = watching(story, &north, "north", &first) => unreachable!(),
                () = watching(story, &south, "south", &second) => unreachable!(),
            }
            winners.insert((has_acted(&first), has_acted(&second)));
            story.rest().await;
            assert_eq!(story.objects(), before, "after {after} s");
            let run = unfinished::latest(&story.doors).await.unwrap().unwrap();
            assert_eq!(run.replayed.phase, Phase::ended("rolled-back"), "after {after} s");
        });
    }
    assert!(winners.contains(&(false, false)), "the operator was first at least once: {winners:?}");
    assert!(winners.len() > 1, "a guard was first at least once: {winners:?}");
}

/// A guard of one region does its part; what it cannot reach is done by the other, or when contact is back.
#[test]
fn each_guard_does_what_it_can_reach() {
    virtually(environment("canary"), 5, async |story| {
        begin(story).await;
        let (world, watched) = (elsewhere(story, 41, &["east"]), Told::default());
        let work = async {
            left_behind(story).await;
            seconds(120).await;
        };
        tokio::select! {
            biased;
            () = work => {}
            () = watching(story, &world, "east-1", &watched) => unreachable!(),
        }
        assert!(has_acted(&watched), "{:?}", alerts(&watched));
        assert_eq!((story.sizes("east")["api-r1"], story.sizes("east")["api-r2"]), (4, 0));
        assert_eq!(story.sizes("west")["api-r2"], 4, "the west is none of its business");
        // The west's own guard finds a region that has passed its own checks, and leaves it alone.
        let (world, watched) = (elsewhere(story, 42, &["west"]), Told::default());
        let _ =
            tokio::time::timeout(Duration::from_mins(2), watching(story, &world, "west-1", &watched)).await;
        assert_eq!(story.sizes("west")["api-r2"], 4);
        assert!(alerts(&watched)[0].1.contains("passed all its checks"), "{:?}", alerts(&watched));
        // One that reaches both puts both on the same version.
        let watched = Told::default();
        story.world.add_fault(&"api-down:100:west@0s".parse().unwrap());
        guarded(story, &watched, seconds(240)).await;
        assert!(has_acted(&watched), "{:?}", alerts(&watched));
        assert_eq!((story.sizes("west")["api-r1"], story.sizes("west")["api-r2"]), (4, 0));
        assert_eq!(story.go_on(None, &Told::default()).await, Life::Ended(Ending::Deployed));
        story.rest().await;
        assert_eq!((story.sizes("east")["api-r2"], story.sizes("west")["api-r2"]), (4, 4));
    });
}

/// Somebody who brings an older release back does not want the guard to lead users to the newer one again.
#[test]
fn a_rollback_to_an_older_release_is_left_alone() {
    virtually(environment("canary"), 5, async |story| {
        begin(story).await;
        assert_eq!(story.deploy("1.1.0", &Told::default()).await, Life::Ended(Ending::Deployed));
        let watched = Told::default();
        guarded(story, &watched, async {
            dies_at(story, 14, true);
            assert_eq!(story.bring_back(&Told::default()).await, Life::Died);
            *story.dies.lock().unwrap() = None;
            seconds(120).await;
        })
        .await;
        assert!(!has_acted(&watched));
        let told = alerts(&watched);
        assert!(told.len() == 1 && told[0].1.contains("it was bringing an older release back"), "{told:?}");
        assert_eq!(story.go_on(None, &Told::default()).await, Life::Ended(Ending::Deployed));
        assert_eq!(story.sizes("east")["api-r1"], 4);
    });
}

/// One look, for a cron job: it needs no memory.
#[test]
fn one_look_is_enough_to_act() {
    virtually(environment("canary"), 5, async |story| {
        begin(story).await;
        let look = async || {
            let (world, told) = (elsewhere(story, 41, &["east", "west"]), Told::default());
            Guard::new(&story.env, &world, by("cron"), &told).once().await
        };
        assert_eq!(look().await, Round::Quiet);
        left_behind(story).await;
        seconds(20).await;
        assert_eq!(look().await, Round::Quiet, "the lease has not lapsed");
        seconds(30).await;
        let Round::Stable { targets, .. } = look().await else { panic!("it did nothing") };
        assert_eq!(targets, ["east".into(), "west".into()]);
        assert_eq!(look().await, Round::Quiet);
        for target in ["east", "west"] {
            story.world.add_fault(&format!("api-down:60:{target}@0s").parse().unwrap());
        }
        seconds(1).await;
        assert_eq!(look().await, Round::Silent);
    });
}

/// `after: 30s` leaves somebody the time to resume.
#[test]
fn a_guard_waits_as_long_as_it_is_told_to() {
    let mut env: Environment = environment("canary");
    env.guard = Some(deployctl::domain::guard::Guard { after: Duration::from_mins(5), ..Default::default() });
    virtually(env, 5, async |story| {
        begin(story).await;
        let watched = Told::default();
        guarded(story, &watched, async {
            left_behind(story).await;
            seconds(5 * 60).await;
            assert_eq!(alerts(&watched), []);
            seconds(60).await;
            assert!(has_acted(&watched), "{:?}", alerts(&watched));
        })
        .await;
    });
}

/// What preflight says of the guard, by what is wanted and what is there.
#[test]
fn preflight_knows_whether_somebody_watches() {
    let mut env = environment("canary");
    env.guard = Some(deployctl::domain::guard::Guard::default());
    virtually(env, 3, async |story| {
        let guard = async |story: &Story| {
            let plan = story.plan("1.0.0").await;
            let checks = preflight::check(&story.env, &story.doors, &plan).await;
            let own = checks.into_iter().filter(|check| check.name == "guard");
            own.map(|check| (check.level, check.detail)).collect::<Vec<_>>()
        };
        let all = |level, text: &str| vec![(level, text.to_owned()); 2];
        let none = "nobody puts traffic on stable if this machine dies";
        assert_eq!(guard(story).await, all(Level::Warn, none));
        let mut env = story.env.clone();
        env.guard.as_mut().unwrap().required = true;
        let strict = story.under(env);
        assert_eq!(guard(&strict).await, all(Level::Fail, none));

        let world = elsewhere(story, 41, &["east", "west"]);
        let pulse = Pulse::new(&world, &by("tower"));
        pulse.beat(&world).await;
        seconds(4).await;
        assert_eq!(guard(&strict).await, all(Level::Pass, "seen 4s ago on host tower"));
        // A second guard stands by, and counts once the first has gone.
        let other = Pulse::new(&world, &by("desk"));
        other.beat(&world).await;
        assert_eq!(guard(&strict).await, all(Level::Pass, "seen 4s ago on host tower"));
        seconds(60).await;
        assert_eq!(
            guard(&strict).await,
            all(Level::Fail, "none is alive: the last was seen 1m4s ago on host tower")
        );
        other.beat(&world).await;
        assert_eq!(
            guard(&strict).await,
            all(Level::Warn, "seen 0s ago on host desk: this machine, and dies with it")
        );
        other.end(&world).await;
        assert_eq!(guard(&strict).await, all(Level::Fail, none));
    });
}
