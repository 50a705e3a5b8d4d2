//! A process that was killed a moment ago: its lease has not lapsed yet, and an operator speaks to the run from elsewhere.

use crate::support::{Life, Story, Told, environment, virtually};
use deployctl::domain::error::{Code, Exit, Failure};
use deployctl::domain::ids::TargetId;
use deployctl::domain::intent::Wish;
use deployctl::domain::release::Actor;
use deployctl::domain::step::Status;
use deployctl::ports::state::Holder;
use deployctl::run::intents::{self, Live};
use deployctl::run::lease::{self, Leases, Patience};
use deployctl::run::queue::Queue;
use deployctl::run::vigil::{self, Hearing, Sign};
use deployctl::run::{Ending, World, prepare, unfinished};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

async fn begin(story: &Story) -> BTreeMap<String, String> {
    assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
    seconds(120).await;
    story.world.mark_stable();
    story.objects()
}

/// `1.1.0`, killed after so many seconds, while somebody does something from elsewhere.
async fn killed_after<T>(story: &Story, after: u64, elsewhere: impl Future<Output = T>) -> T {
    let told = Told::default();
    let process = async {
        tokio::select! {
            life = story.deploy("1.1.0", &told) => panic!("it ended first: {life:?}"),
            () = seconds(after) => {}
        }
    };
    tokio::join!(process, elsewhere).1
}

async fn ask(doors: &World, live: &Live, wish: Wish) -> deployctl::domain::intent::Intent {
    let by = Actor { user: "bo".into(), host: "phone".into(), ci: None };
    intents::ask(doors, live, wish, by, None).await.unwrap().0
}

/// What whoever waits is told of the lock.
#[derive(Default)]
struct Waits(Mutex<Vec<String>>);

impl Waits {
    fn telling(&self, world: &World) -> impl FnOnce(&Holder) {
        let now = world.clock.now();
        move |holder| self.0.lock().unwrap().push(lease::lapses("the lock", holder, now))
    }

    /// Once, with whom and until when.
    fn assert_told(&self) {
        let told = self.0.lock().unwrap();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("the lock was last renewed "), "{told:?}");
        assert!(
            told[0].contains(" ago by ana@desk (test): if nobody renews it, this goes on at "),
            "{told:?}"
        );
    }
}

#[test]
fn a_run_that_was_killed_a_moment_ago_is_gone_on_with_once_its_lease_has_lapsed() {
    virtually(environment("canary"), 21, async |story| {
        begin(story).await;
        killed_after(story, 110, async {}).await;
        let doors = story.elsewhere();
        let live = intents::live(&doors, "canary").await.unwrap();
        let waits = Waits::default();
        assert_eq!(vigil::watch(&doors, &live.plan, waits.telling(&doors)).await, Sign::Lapsed);
        waits.assert_told();
        assert!(intents::live(&doors, "canary").await.is_err(), "nobody holds it any more");
        assert_eq!(story.go_on(None, &Told::default()).await, Life::Ended(Ending::Deployed));
    });
}

#[test]
fn a_run_that_lives_is_known_by_its_next_renewal() {
    virtually(environment("canary"), 22, async |story| {
        begin(story).await;
        let told = Told::default();
        let waits = Waits::default();
        let elsewhere = async {
            seconds(100).await;
            let doors = story.elsewhere();
            let live = intents::live(&doors, "canary").await.unwrap();
            vigil::watch(&doors, &live.plan, waits.telling(&doors)).await
        };
        let (life, sign) = tokio::join!(story.deploy("1.1.0", &told), elsewhere);
        assert_eq!(sign, Sign::Renewed);
        waits.assert_told();
        assert_eq!(life, Life::Ended(Ending::Deployed), "nobody took it over");
    });
}

/// Paused runs whose process is killed, or lives: what becomes of a `resume` and of an `abort`.
#[test]
fn a_wish_that_nobody_can_hear_becomes_a_take_over() {
    for (wish, back) in [(Wish::Resume, None), (Wish::Abort { superseded_by: None }, Some("aborted"))] {
        virtually(environment("canary"), 23, async |story| {
            let before = begin(story).await;
            let paused = async {
                seconds(90).await;
                let doors = story.elsewhere();
                let live = intents::live(&doors, "canary").await.unwrap();
                ask(&doors, &live, Wish::Pause).await;
            };
            killed_after(story, 110, paused).await;
            let doors = story.elsewhere();
            let live = intents::live(&doors, "canary").await.unwrap();
            assert!(live.orders().pause.is_some());
            let intent = ask(&doors, &live, wish.clone()).await;
            let waits = Waits::default();
            let hearing = vigil::hearing(&doors, &live, &intent, waits.telling(&doors)).await;
            assert_eq!(hearing, Hearing::Lapsed);
            waits.assert_told();
            let ending = story.go_on(back, &Told::default()).await;
            if back.is_none() {
                assert_eq!(ending, Life::Ended(Ending::Deployed));
            } else {
                assert!(matches!(ending, Life::Ended(Ending::RolledBack { .. })), "{ending:?}");
                story.rest().await;
                assert_eq!(story.objects(), before);
            }
        });
    }
}

#[test]
fn a_wish_that_is_heard_waits_for_no_lease() {
    virtually(environment("canary"), 24, async |story| {
        begin(story).await;
        let elsewhere = async {
            seconds(90).await;
            let doors = story.elsewhere();
            let live = intents::live(&doors, "canary").await.unwrap();
            let intent = ask(&doors, &live, Wish::Abort { superseded_by: None }).await;
            let waits = Waits::default();
            let hearing = vigil::hearing(&doors, &live, &intent, waits.telling(&doors)).await;
            assert!(waits.0.lock().unwrap().is_empty());
            hearing
        };
        let told = Told::default();
        let (life, hearing) = tokio::join!(story.deploy("1.1.0", &told), elsewhere);
        assert_eq!(hearing, Hearing::Heard);
        assert!(matches!(life, Life::Ended(Ending::RolledBack { .. })), "{life:?}");
    });
}

/// Whoever begins to wait reads the journals, and the process may write on until it is killed.
#[test]
fn what_a_run_did_while_its_lock_was_waited_for_is_read_before_it_is_taken_over() {
    virtually(environment("canary"), 25, async |story| {
        begin(story).await;
        let doors = story.elsewhere();
        let early = async {
            seconds(70).await;
            unfinished::latest(&doors).await.unwrap().unwrap()
        };
        let seen = killed_after(story, 150, early).await;
        let done = |statuses: &BTreeMap<_, Status>| {
            statuses.values().filter(|status| **status == Status::Done).count()
        };
        let now = unfinished::again(&doors, &seen).await.unwrap();
        assert!(done(&now.replayed.status) > done(&seen.replayed.status));
        assert_eq!(story.go_on(None, &Told::default()).await, Life::Ended(Ending::Deployed));
        let failure = unfinished::again(&doors, &seen).await.err().unwrap();
        assert_eq!((failure.code, failure.next), (Code(614), vec!["deployctl status canary".to_owned()]));
    });
}

/// The same story, told from another machine.
fn elsewhere(story: &Story) -> Story {
    let mut other = story.under(story.env.clone());
    other.doors = story.elsewhere();
    other
}

#[test]
fn a_second_deployment_queues_and_is_planned_on_what_the_first_left() {
    virtually(environment("canary"), 26, async |story| {
        begin(story).await;
        let second = async {
            seconds(60).await;
            let other = elsewhere(story);
            let waits = Mutex::new(Vec::new());
            let queue = Queue::new(Patience::UpTo(Duration::from_hours(24)));
            queue.turn(&other.doors, |whom| waits.lock().unwrap().push(whom.to_owned())).await.unwrap();
            let waits = waits.into_inner().unwrap();
            assert_eq!(waits.len(), 1, "{waits:?}");
            assert!(waits[0].starts_with("ana@desk (test, since "), "{waits:?}");
            assert!(waits[0].ends_with("Z) has the lock of east"), "{waits:?}");
            let plan = other.plan("1.2.0").await;
            assert!(unfinished::latest(&other.doors).await.unwrap().is_some_and(|run| !run.is_unfinished()));
            (plan.revision.0, other.new_run(&plan, &Told::default(), None).await)
        };
        let told = Told::default();
        let (first, (revision, second)) = tokio::join!(story.deploy("1.1.0", &told), second);
        assert_eq!((first, revision), (Life::Ended(Ending::Deployed), 3));
        assert_eq!(second, Life::Ended(Ending::Deployed));
        story.rest().await;
        let sizes = story.sizes("east");
        assert_eq!((sizes["api-r3"], sizes["api-r2"]), (4, 0), "{sizes:?}");
    });
}

#[test]
fn who_queues_with_a_limit_gives_up_and_says_whom_it_waited_for() {
    virtually(environment("canary"), 27, async |story| {
        begin(story).await;
        let second = async {
            seconds(60).await;
            let doors = story.elsewhere();
            let began = doors.clock.now();
            let queue = Queue::new(Patience::UpTo(Duration::from_secs(30)));
            let failure = queue.turn(&doors, |_| {}).await.unwrap_err();
            let waited = doors.clock.now().duration_since(began).as_secs();
            assert!((30..=33).contains(&waited), "{waited} s of the simulated clock");
            assert!(!queue.is_patient());
            failure
        };
        let told = Told::default();
        let (first, failure) = tokio::join!(story.deploy("1.1.0", &told), second);
        assert_eq!(first, Life::Ended(Ending::Deployed));
        assert_eq!((failure.code, failure.exit), (Code(612), Exit::Locked));
        assert_eq!(failure.what, "east is locked by ana@desk");
        assert!(failure.why.contains(&"waited 30s for it, as told".to_owned()), "{:?}", failure.why);
    });
}

/// Of two that queue one is second: the plan that it made meanwhile is refused, and it still has patience to plan anew.
#[test]
fn a_plan_that_another_overtook_in_the_queue_is_refused_before_anything_is_written() {
    virtually(environment("canary"), 28, async |story| {
        begin(story).await;
        let (plan, other) = (story.plan("1.2.0").await, elsewhere(story));
        let queue = Queue::new(Patience::UpTo(Duration::from_hours(1)));
        assert_eq!(other.deploy("1.1.0", &Told::default()).await, Life::Ended(Ending::Deployed));
        let fresh = prepare::plan(&story.doors, &story.request("1.2.0", None)).await.unwrap();
        assert_eq!(prepare::still_valid(&plan, &fresh).unwrap_err().code, Code(607));
        assert!(queue.is_patient());
        assert_eq!(story.new_run(&fresh, &Told::default(), None).await, Life::Ended(Ending::Deployed));
    });
}

/// Two regions that are released to on their own, at the same time: whoever asks says which run is meant.
#[test]
fn two_runs_of_different_targets_are_spoken_to_one_at_a_time() {
    virtually(environment("canary"), 26, async |story| {
        begin(story).await;
        let ((east, _), (west, _)) = (story.without(&["west"], "1.1.0"), story.without(&["east"], "1.1.0"));
        let (told_east, told_west) = (Told::default(), Told::default());
        let elsewhere = async {
            let doors = story.elsewhere();
            let refused = loop {
                match intents::live(&doors, "canary").await {
                    Err(refused) if refused.code == Code(638) => break refused,
                    _ => seconds(1).await,
                }
            };
            assert_eq!(refused.exit, Exit::Usage);
            assert_eq!(
                refused.next,
                ["the same command with --target west", "the same command with --target east"]
            );
            let doors = doors.but([&"west".into()]);
            let live = intents::live(&doors, "canary").await.unwrap();
            assert_eq!(live.plan.targets.keys().map(TargetId::as_str).collect::<Vec<_>>(), ["east"]);
            let intent = ask(&doors, &live, Wish::Abort { superseded_by: None }).await;
            assert_eq!(vigil::heard(&doors, &live, &intent).await, Hearing::Heard);
        };
        let second = async {
            seconds(1).await;
            west.deploy("1.1.0", &told_west).await
        };
        let (east, west, ()) = tokio::join!(east.deploy("1.1.0", &told_east), second, elsewhere);
        assert_eq!(west, Life::Ended(Ending::Deployed));
        assert!(matches!(east, Life::Ended(Ending::RolledBack { .. })), "{east:?}");
    });
}

/// A wish that comes too late is not told as heard.
#[test]
fn a_run_that_is_over_hears_nothing() {
    virtually(environment("canary"), 27, async |story| {
        begin(story).await;
        let told = Told::default();
        let elsewhere = async {
            seconds(100).await;
            intents::live(&story.elsewhere(), "canary").await.unwrap()
        };
        let (ended, live) = tokio::join!(story.deploy("1.1.0", &told), elsewhere);
        assert_eq!(ended, Life::Ended(Ending::Deployed));
        let doors = story.elsewhere();
        let intent = ask(&doors, &live, Wish::Pause).await;
        assert_eq!(vigil::heard(&doors, &live, &intent).await, Hearing::Over("deployed".to_owned()));
    });
}

/// Whoever took a run over a moment ago has nothing on record yet, and is the one who is asked.
#[test]
fn a_wish_is_for_the_process_that_holds_the_lock() {
    virtually(environment("canary"), 28, async |story| {
        begin(story).await;
        killed_after(story, 110, async {}).await;
        seconds(120).await;
        let doors = story.elsewhere();
        let run = unfinished::latest(&doors).await.unwrap().unwrap();
        for site in doors.sites.values() {
            site.lock.acquire(&holder(&doors, &format!("{}/2/phone.7.0", run.plan.run))).await.unwrap();
        }
        let live = intents::live(&doors, "canary").await.unwrap();
        assert_eq!(live.replayed.epoch, 1);
        assert_eq!(ask(&doors, &live, Wish::Pause).await.epoch, 2);
    });
}

fn holder(doors: &World, id: &str) -> Holder {
    let now = doors.clock.now();
    let by = Actor { user: "bo".into(), host: "phone".into(), ci: None };
    let (reason, ttl) = ("test".into(), Duration::from_mins(1));
    Holder { id: id.to_owned(), by, reason, since: now, renewed: now, ttl }
}

/// Locks that are given up while one of them is waited for are all given back.
#[test]
fn a_wait_for_locks_can_be_given_up() {
    virtually(environment("canary"), 29, async |story| {
        let doors = story.elsewhere();
        let targets: Vec<_> = doors.sites.keys().cloned().collect();
        let other = holder(&doors, "other");
        doors.sites[&targets[1]].lock.acquire(&other).await.unwrap();
        let why = Failure::new(Code(637), Exit::Interrupted, "given up");
        let given_up = async {
            seconds(3).await;
            why.clone()
        };
        let patience = Patience::UpTo(Duration::from_mins(5));
        let waits = Leases::acquire(&doors, &targets, holder(&doors, "we"), patience, &|_, _| {}, given_up);
        assert_eq!(waits.await.unwrap_err(), why);
        assert_eq!(doors.sites[&targets[0]].lock.inspect().await.unwrap(), None);
        assert_eq!(doors.sites[&targets[1]].lock.inspect().await.unwrap().unwrap().id, "other");
    });
}
