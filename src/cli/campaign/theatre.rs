//! Plays stories: a release and what follows it, by the code of the commands, in a simulated world and virtual time.
//!
//! The release before is brought into the world once; every story begins from a copy of that. A seed plays the same
//! story again, alone or among ten thousand.

use super::beginning::{baseline, routed, virtual_time};
use super::checks::{self, Picture};
use super::holds;
use super::operator;
use super::schedule::{Crash, Schedule, Then};
use super::tally::{Counts, Tally};
use crate::cli::session::{Session, Wanted};
use crate::cli::wiring::{self, FaultKind, Frozen, Judgement, Simulated, Violation};
use crate::cli::{CliError, flow};
use crate::domain::environment::{Environment, OnFailure};
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::event::Event;
use crate::plan::Plan;
use crate::run::journal::Phase;
use crate::run::{Ending, Report, World, unfinished};
use async_trait::async_trait;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Commands that may follow until everything is settled.
const COMMANDS: usize = 12;
/// From the end of a process to the next command.
const THINKING: Duration = Duration::from_secs(20);
/// The same where somebody else's run holds the lock: a release takes its time, and resume cannot end it.
const WAITING: Duration = Duration::from_mins(10);
/// How long the world is left alone before the last look.
const REST: Duration = Duration::from_mins(3);
/// Beyond what a run may take forward: the way back, and waiting for a lock.
const BEYOND: Duration = Duration::from_hours(2);
/// Requests that no command needs.
const STORM: u64 = 200_000;

/// What is played, and from where.
pub struct Theatre {
    pub(super) wanted: Wanted,
    /// To what its holds and bakes were cut, if any was longer.
    pub(super) longest_hold: Option<Duration>,
    frozen: Frozen,
}

/// How one process of a story ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Life {
    /// What was typed.
    pub command: &'static str,
    /// Its exit code; none if the process died.
    pub exit: Option<Exit>,
    /// Why, where there is a reason.
    pub cause: String,
    /// How long it took, in virtual time.
    pub took: Duration,
}

/// A story that was played.
#[derive(Clone, Debug, Default)]
pub struct Played {
    /// Its processes, in order.
    pub lives: Vec<Life>,
    /// What was broken, as far as it is known.
    pub violations: Vec<Violation>,
    /// What the referee saw.
    pub judgement: Judgement,
    /// From the turn to the end of each way back.
    pub ways_back: Vec<Duration>,
    /// Steps that were begun again.
    pub retried: u64,
    /// Writes of all processes.
    pub writes: u64,
    /// Labels that were fired.
    pub labels: Vec<String>,
}

/// Who watches a story.
pub(in crate::cli) trait Audience {
    /// Where commands print.
    fn session(&self) -> &Session;
    /// A command is typed.
    fn typed(&self, command: &str);
    /// Whether a plan may be performed; an error if somebody must say yes and did not.
    fn approves(&self, plan: &Plan) -> Result<bool, CliError>;
    /// Who shows what a run tells.
    fn report<'a>(&'a self, plan: &Plan) -> Box<dyn Report + 'a>;
    /// The command that was just played refused.
    fn refused(&self, _: CliError) {}
}

/// Wraps the doors of every process: how tests put a mistake between the run and the world.
pub type Tamper = dyn Fn(World) -> World + Send + Sync;

/// An audience that sees nothing.
struct Nobody(Session);

pub(super) struct Silence;

impl Report for Silence {
    fn event(&self, _: &Event) {}
}

impl Audience for Nobody {
    fn session(&self) -> &Session {
        &self.0
    }

    fn typed(&self, _: &str) {}

    fn approves(&self, plan: &Plan) -> Result<bool, CliError> {
        flow::uncontested(plan)?;
        Ok(plan.has_changes())
    }

    fn report<'a>(&'a self, _: &Plan) -> Box<dyn Report + 'a> {
        Box::new(Silence)
    }
}

/// How a process came to its end.
pub(super) enum End {
    Died,
    Ended(Ending),
    Refused(CliError),
    Nothing,
    Hangs,
}

/// What another operator can do in a story.
#[async_trait(?Send)]
pub(super) trait Elsewhere {
    /// Begins a second release.
    async fn second_release(&self);
}

/// One story while it is played.
pub(super) struct Story<'a> {
    pub(super) theatre: &'a Theatre,
    pub(super) schedule: &'a Schedule,
    simulated: &'a Simulated,
    pub(super) tally: &'a Tally<'a>,
    pub(super) audience: &'a dyn Audience,
    tamper: Option<&'a Tamper>,
    began: Instant,
    /// What a way back leads to: as it was when the last run came to a good end.
    before: RefCell<Picture>,
    processes: Cell<u32>,
    limit: Cell<Duration>,
    /// What was there before, and what releases brought that came to a good end.
    known: RefCell<BTreeSet<String>>,
    /// Another operator's release came through.
    pub(super) overtaken: Cell<bool>,
    lives: RefCell<Vec<Life>>,
    violations: RefCell<Vec<Violation>>,
}

impl Theatre {
    /// An environment with the release before already there, unless the story begins with nothing.
    pub fn of(env: Environment, from_nothing: bool) -> Result<Self, CliError> {
        let version = crate::cli::session::version(&env)?;
        let rendered = crate::render::render_targets(&env, &version)?;
        let wanted = Wanted { env, version, components: BTreeSet::new(), rendered, prune: Vec::new() };
        Self::new(wanted, from_nothing, None)
    }

    pub(in crate::cli) fn new(
        mut wanted: Wanted,
        from_nothing: bool,
        longest_hold: Option<Duration>,
    ) -> Result<Self, CliError> {
        let longest_hold = longest_hold.filter(|longest| holds::cut(&mut wanted.env, *longest));
        let frozen = virtual_time(async {
            let simulated = wiring::simulated(&wanted.env, 1, &routed(&wanted));
            if !from_nothing {
                let story = baseline(&wanted, &simulated);
                tokio::select! {
                    biased;
                    result = story => result?,
                    () = simulated.run() => unreachable!("the world never ends"),
                }
            }
            Ok(simulated.freeze())
        })?;
        Ok(Self { wanted, longest_hold, frozen })
    }

    /// To what its holds and bakes were cut, if any was longer.
    #[must_use]
    pub fn longest_hold(&self) -> Option<Duration> {
        self.longest_hold
    }

    /// Plays a story that nobody watches.
    #[must_use]
    pub fn play(&self, schedule: &Schedule, tamper: Option<&Tamper>) -> Played {
        let nobody = Nobody(Session::quiet());
        let played =
            virtual_time(async { Ok(Box::pin(self.story(schedule, &nobody, tamper, |_| {})).await) });
        played.unwrap_or_default()
    }

    /// Plays a story; `ended` sees the world when it is over.
    pub(in crate::cli) async fn story(
        &self,
        schedule: &Schedule,
        audience: &dyn Audience,
        tamper: Option<&Tamper>,
        ended: impl FnOnce(&Simulated),
    ) -> Played {
        let simulated = self.frozen.thaw(schedule.seed);
        let tally = Tally::new(&simulated);
        let story = Story {
            theatre: self,
            schedule,
            simulated: &simulated,
            tally: &tally,
            audience,
            tamper,
            began: Instant::now(),
            before: RefCell::new(Picture::of(&simulated, &self.wanted.env)),
            processes: Cell::new(0),
            known: RefCell::default(),
            limit: Cell::new(self.wanted.env.limits.run + BEYOND),
            overtaken: Cell::new(false),
            lives: RefCell::default(),
            violations: RefCell::default(),
        };
        story.known.borrow_mut().extend(story.before.borrow().names());
        let noticed = simulated.world().judgement();
        simulated.arm(&schedule.faults);
        for crash in &schedule.crashes {
            if let Crash::Write(death) = crash {
                simulated.world().schedule_death(*death);
            }
        }
        simulated.watch(&self.wanted.env, !schedule.asks.iter().any(|ask| ask.wish.starts_with("promote")));
        tokio::select! {
            biased;
            () = story.play() => {}
            () = story.guard() => unreachable!("a guard watches on"),
            () = simulated.run() => unreachable!("the world never ends"),
        }
        let Counts { labels, retried, ways_back, .. } = tally.counts();
        let mut judgement = simulated.world().judgement();
        judgement.requests -= noticed.requests;
        judgement.failed.release -= noticed.failed.release;
        judgement.failed.world -= noticed.failed.world;
        judgement.failed.orchestration -= noticed.failed.orchestration;
        let mut violations = judgement.violations.clone();
        violations.extend(story.violations.take());
        if judgement.failed.orchestration > 0 && !violations.iter().any(|known| known.invariant == "requests")
        {
            let what =
                format!("{} requests failed by the release's own doing", judgement.failed.orchestration);
            violations.push(Violation {
                at: simulated.world().clock().millis(),
                invariant: "requests",
                what,
            });
        }
        ended(&simulated);
        let (writes, lives) = (simulated.world().writes(), story.lives.take());
        Played { lives, violations, judgement, ways_back, retried, writes, labels }
    }
}

impl Story<'_> {
    async fn play(&self) {
        tokio::select! {
            biased;
            () = self.commands() => {}
            () = operator::play(self.simulated, &self.theatre.wanted.env, &self.schedule.asks, self) => {
                unreachable!("an operator never ends")
            }
        }
    }

    async fn commands(&self) {
        let mut then = self.schedule.then.iter();
        let (mut command, mut healed) = ("deploy", false);
        for _ in 0..COMMANDS {
            let end = Box::pin(self.process(command)).await;
            if matches!(end, End::Hangs) {
                return;
            }
            let finished =
                matches!(end, End::Ended(Ending::Deployed | Ending::RolledBack { .. }) | End::Nothing);
            if finished && !self.schedule.settle && then.len() == 0 {
                return;
            }
            let locked = matches!(self.lives.borrow().last(), Some(Life { exit: Some(Exit::Locked), .. }));
            tokio::time::sleep(if locked { WAITING } else { THINKING }).await;
            command = match then.next() {
                Some(Then::Resume) => "resume",
                Some(Then::Rollback) => "rollback",
                None if !self.schedule.settle => return,
                None => {
                    if !std::mem::replace(&mut healed, true) {
                        self.simulated.world().heal();
                        tokio::time::sleep(REST).await;
                    }
                    if let Some(last) = self.settled().await {
                        return self.last_look(last.as_ref());
                    }
                    "resume"
                }
            };
        }
        // what another operator broke by hand, a person has to mend
        if self.schedule.settle && self.passed_over().is_empty() {
            self.broken("stuck", format!("{COMMANDS} commands, and still a run is unfinished"));
        }
    }

    fn broken(&self, invariant: &'static str, what: String) {
        let at = self.simulated.world().clock().millis();
        self.violations.borrow_mut().push(Violation { at, invariant, what });
    }

    /// Doors of a process of its own, as on a machine with an empty directory.
    pub(super) fn doors(&self, who: &str) -> (String, World, watch::Receiver<bool>) {
        let number = self.processes.get() + 1;
        self.processes.set(number);
        let name = format!("{who}-{number}");
        let (doors, dead) = self.simulated.process(&self.theatre.wanted.env, &name);
        let doors = match self.tamper {
            Some(tamper) if who != "auditor" => tamper(doors),
            _ => doors,
        };
        (name, doors, dead)
    }

    /// The last run, if there is one, once none is unfinished.
    async fn settled(&self) -> Option<Option<unfinished::Run>> {
        let (_, doors, _) = self.doors("auditor");
        let last = unfinished::latest(&doors).await.ok()?;
        (!last.as_ref().is_some_and(unfinished::Run::is_unfinished)).then_some(last)
    }

    /// All is over: what is on record, and what stands there.
    fn last_look(&self, last: Option<&unfinished::Run>) {
        let Some(run) = last.filter(|_| !self.overtaken.get()) else { return };
        let (now, at) = (self.picture(), self.simulated.world().clock().millis());
        let found = checks::settled(run, &self.known.borrow(), &now, &self.passed_over(), at);
        self.violations.borrow_mut().extend(found);
        let back = matches!(&run.replayed.phase, Phase::Ended { outcome, .. } if outcome == "rolled-back");
        if back && run.plan.rollback_of.is_none() {
            self.as_it_was(&Ending::RolledBack { cause: String::new() });
        }
    }

    fn picture(&self) -> Picture {
        Picture::of(self.simulated, &self.theatre.wanted.env)
    }

    fn as_it_was(&self, ending: &Ending) {
        if self.theatre.wanted.env.on_failure == OnFailure::Hold || self.overtaken.get() {
            return;
        }
        let at = self.simulated.world().clock().millis();
        let (now, kept) = (self.picture(), self.tally.counts().kept);
        let found = checks::at_the_end(ending, (&self.before.borrow(), &now), &self.passed_over(), &kept, at);
        let mut known = self.violations.borrow_mut();
        let fresh: Vec<Violation> =
            found.into_iter().filter(|one| !known.iter().any(|other| other.what == one.what)).collect();
        known.extend(fresh);
    }

    /// A run came to a good end: what stands now is what the next way back leads to. One command may end one run and begin
    /// another.
    pub(super) fn stands(&self) {
        let now = self.picture();
        self.known.borrow_mut().extend(now.names());
        self.before.replace(now);
        self.simulated.world().accept();
    }

    /// What other operators changed by hand is theirs.
    fn passed_over(&self) -> BTreeSet<String> {
        let meddled = self.theatre.wanted.env.targets.iter().flat_map(|target| {
            let names = self.simulated.world().meddled(target.id.as_str());
            names.into_iter().map(move |(kind, _, name)| format!("{} {kind}/{name}", target.id))
        });
        meddled.collect()
    }

    /// One process, from what is typed to its end.
    async fn process(&self, command: &'static str) -> End {
        let (name, doors, mut dead) = self.doors(command);
        if self.processes.get() > 1 {
            self.audience.typed(command);
        }
        let (count, interrupts) = watch::channel(0);
        let began = Instant::now();
        let work = self.command(command, &doors, interrupts);
        let work = self.standing_still(work);
        let interrupted = async {
            if let Some(at) = self.schedule.interrupt_at {
                tokio::time::sleep_until(self.began + at).await;
                if command == "deploy" {
                    count.send_replace(1);
                }
            }
            std::future::pending::<()>().await;
        };
        let crash = self.next_crash(began);
        let end = tokio::select! {
            biased;
            _ = dead.wait_for(|dead| *dead) => End::Died,
            () = crash => End::Died,
            end = tokio::time::timeout(self.limit.get(), work) => end.unwrap_or(End::Hangs),
            () = interrupted => unreachable!("an operator never ends"),
        };
        self.note(command, &name, &end, began.elapsed());
        match end {
            End::Refused(error) => {
                self.audience.refused(error);
                End::Refused(CliError::Failure(Failure::new(Code(1), Exit::Internal, "told")))
            }
            end => end,
        }
    }

    /// The process does nothing while its machine stands still.
    async fn standing_still(&self, work: impl Future<Output = End>) -> End {
        let suspends = self.schedule.faults.iter().any(|fault| fault.fault.kind == FaultKind::Suspend);
        let mut work = pin!(work);
        if !suspends {
            return work.await;
        }
        loop {
            let world = self.simulated.world();
            if let Some(until) = world.suspended_until() {
                tokio::time::sleep_until(world.clock().instant(until)).await;
            }
            let step = std::future::poll_fn(|cx| match world.suspended_until() {
                Some(_) => Poll::Ready(None),
                None => work.as_mut().poll(cx).map(Some),
            });
            if let Some(end) = step.await {
                return end;
            }
        }
    }

    /// Ends at the next time at which a process dies, if that is to come.
    async fn next_crash(&self, began: Instant) {
        let times = self.schedule.crashes.iter().filter_map(|crash| match crash {
            Crash::At(at) => Some(self.began + *at),
            Crash::Write(_) => None,
        });
        match times.filter(|at| *at >= began).min() {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    fn note(&self, command: &'static str, process: &str, end: &End, took: Duration) {
        let (exit, cause) = match end {
            End::Died => (None, "the process died".to_owned()),
            End::Nothing => (Some(Exit::Done), "nothing to do".to_owned()),
            End::Hangs => {
                let limit = crate::domain::units::human(self.limit.get());
                self.broken("ends", format!("{command} had not ended after {limit}"));
                (None, "it hangs".to_owned())
            }
            End::Ended(ending) => {
                self.as_it_was(ending);
                let cause = match ending {
                    Ending::RolledBack { cause } | Ending::Unknown { cause } => cause.clone(),
                    Ending::Broken { cause, remaining, .. } => {
                        let wrong: Vec<String> = remaining.iter().map(ToString::to_string).collect();
                        format!("{cause}; {}", wrong.join("; "))
                    }
                    Ending::Deployed | Ending::Interrupted => String::new(),
                };
                (Some(flow::exit_of(ending)), cause)
            }
            End::Refused(CliError::Failure(failure)) => {
                let why = failure.why.join("; ");
                (Some(failure.exit), format!("{} {}: {why}", failure.code, failure.what))
            }
            End::Refused(CliError::Mistakes(_)) => (Some(Exit::Usage), "mistakes".to_owned()),
        };
        let requests = self.simulated.world().requests_of(process);
        if requests > STORM {
            self.broken("storm", format!("{command} sent {requests} requests"));
        }
        self.lives.borrow_mut().push(Life { command, exit, cause, took });
    }
}
