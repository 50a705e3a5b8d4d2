//! What operators ask of a run while it goes on: read from every target, obeyed, journalled and told.
//!
//! Only the run writes the cluster; whoever asks leaves a record and the run reads it. All that was asked is joined
//! ([`Orders`]), so it does not matter which targets the asker could reach.

use super::contact::Tries;
use super::engine::Engine;
use super::intents;
use super::journal::What;
use crate::domain::event::Kind;
use crate::domain::ids::TargetId;
use crate::domain::intent::{Intent, Orders};
use crate::domain::step::Stage;
use crate::ports::state::{Record, RecordKind};
use futures::future::select_all;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// What was asked so far, and how long the run stood still for it.
pub(super) struct Control {
    epoch: u64,
    /// Name of the stage that is under way.
    stage: Mutex<String>,
    orders: watch::Sender<Orders>,
    asked: Mutex<Vec<Intent>>,
    still: Mutex<Still>,
}

/// Time that passed while the run was paused.
#[derive(Default)]
struct Still {
    total: Duration,
    since: Option<Instant>,
}

impl Control {
    /// Nobody has asked anything. `epoch` is this process of the run, `asked` what an earlier one journalled.
    pub fn new(epoch: u64, asked: Vec<Intent>) -> Self {
        let orders = watch::Sender::new(Orders::of(&asked, epoch));
        Self { epoch, stage: Mutex::default(), orders, asked: Mutex::new(asked), still: Mutex::default() }
    }

    /// A stage begins.
    pub fn enter(&self, stage: &Stage) {
        self.stage.lock().expect("no panic while held").clone_from(&stage.id);
    }

    /// Takes wishes in; returns those that are new.
    fn take(&self, intents: Vec<Intent>) -> Vec<Intent> {
        let mut asked = self.asked.lock().expect("no panic while held");
        let mut fresh: Vec<Intent> = Vec::new();
        for intent in intents {
            let known = asked.iter().chain(&fresh).any(|known| known.id == intent.id);
            if !known {
                fresh.push(intent);
            }
        }
        fresh.sort_by_key(|intent| intent.number);
        asked.extend(fresh.iter().cloned());
        let orders = Orders::of(asked.iter(), self.epoch);
        drop(asked);
        self.stand(orders.pause.is_some());
        self.orders.send_if_modified(|before| {
            let changed = *before != orders;
            *before = orders;
            changed
        });
        fresh
    }

    fn stand(&self, paused: bool) {
        let mut still = self.still.lock().expect("no panic while held");
        match (paused, still.since) {
            (true, None) => still.since = Some(Instant::now()),
            (false, Some(since)) => {
                still.total += since.elapsed();
                still.since = None;
            }
            _ => {}
        }
    }

    /// How long the run has stood still, all pauses together.
    pub fn still(&self) -> Duration {
        let still = self.still.lock().expect("no panic while held");
        still.total + still.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// What holds now, and wakes when that changes.
    pub fn orders(&self) -> watch::Receiver<Orders> {
        self.orders.subscribe()
    }

    /// One line for each wish, for the record.
    pub fn lines(&self) -> Vec<String> {
        self.asked.lock().expect("no panic while held").iter().map(Intent::line).collect()
    }

    /// Ends when somebody asks to abort.
    pub async fn aborted(&self) -> Intent {
        let mut orders = self.orders();
        loop {
            if let Some(intent) = &orders.borrow_and_update().abort {
                return intent.clone();
            }
            // The sender lives as long as this.
            let _ = orders.changed().await;
        }
    }

    /// Ends at `deadline`, which moves on for as long as the run stands still (and stood before).
    pub async fn past(&self, deadline: Instant) {
        let mut orders = self.orders();
        loop {
            let end = deadline + self.still();
            let paused = orders.borrow_and_update().pause.is_some();
            if !paused && Instant::now() >= end {
                return;
            }
            tokio::select! {
                biased;
                _ = orders.changed() => {}
                () = tokio::time::sleep_until(end), if !paused => {}
            }
        }
    }
}

impl Engine<'_> {
    /// Listens to the targets of the run until it is dropped: one watch for each.
    pub(super) async fn listen(&self) {
        let prefix = format!("{}.", self.plan.run);
        let sites = self.world.sites.iter().filter(|(target, _)| self.plan.targets.contains_key(*target));
        let mut doors: BTreeMap<&TargetId, watch::Receiver<Option<Vec<Record>>>> =
            sites.map(|(target, site)| (target, site.state.follow(RecordKind::Intent, &prefix))).collect();
        loop {
            let mut seen = Vec::new();
            for door in doors.values_mut() {
                let records = door.borrow_and_update();
                seen.extend(records.iter().flatten().filter_map(intents::read));
            }
            for intent in self.control.take(seen) {
                self.heard(&intent).await;
            }
            let changes: Vec<_> = doors
                .iter_mut()
                .map(|(target, door)| {
                    Box::pin(async move { door.changed().await.is_err().then(|| (*target).clone()) })
                })
                .collect();
            if changes.is_empty() {
                return std::future::pending().await;
            }
            let (closed, ..) = select_all(changes).await;
            doors.retain(|target, _| Some(*target) != closed.as_ref());
        }
    }

    /// Tells and journals that the run goes out though the environment is frozen, if it does.
    pub(super) async fn admit(&self) {
        let Some(overridden) = &self.plan.overridden else { return };
        let message = format!("a freeze is overridden by {}: {overridden}", self.plan.by);
        self.teller().tell(Kind::Alert { severity: "warning", target: None, message });
        let writes = self.plan.targets.keys().map(|target| {
            self.journal.write(target, What::Overridden(overridden.to_string()), Tries::Patient)
        });
        // What the run rests on is its phase, which is written with patience and checked.
        let _ = futures::future::join_all(writes).await;
    }

    /// Tells and journals a wish. It holds already: no journal can hold up an abort.
    async fn heard(&self, intent: &Intent) {
        self.teller().tell(Kind::Asked {
            wish: intent.wish.verb(),
            by: intent.by.to_string(),
            reason: intent.reason.clone(),
            asked: intent.at,
        });
        let what = What::Asked(intent.clone());
        let writes = self.plan.targets.keys().map(|target| {
            let what = what.clone();
            async move { self.journal.write(target, what, Tries::One).await }
        });
        // A target that cannot be told reads the wish itself when it is back.
        let _ = futures::future::join_all(writes).await;
    }

    /// Enters a stage; waits before it for as long as the run is paused. A hold does so itself, since it watches
    /// meanwhile.
    pub(super) async fn enter(&self, stage: &Stage) {
        self.control.enter(stage);
        let holds = |stage: &Stage| {
            stage.steps.iter().any(|step| matches!(step.effect, crate::domain::Effect::Hold { .. }))
        };
        if holds(stage) {
            return;
        }
        let mut orders = self.control.orders();
        let mut told = false;
        loop {
            let pause = orders.borrow_and_update().pause.clone();
            let Some(pause) = pause else { return };
            if !std::mem::replace(&mut told, true) {
                self.teller().tell(Kind::Paused { before: stage.title.clone(), by: pause.who() });
            }
            if orders.changed().await.is_err() {
                return;
            }
        }
    }
}

/// The clock of a hold: it stands still while the run is paused.
pub(super) struct HoldClock<'a> {
    control: &'a Control,
    orders: watch::Receiver<Orders>,
    stage: String,
    began: Instant,
    before: Duration,
}

impl<'a> HoldClock<'a> {
    /// Begins to run, for the hold of the stage that is under way.
    pub fn start(control: &'a Control) -> Self {
        Self {
            control,
            orders: control.orders(),
            stage: control.stage.lock().expect("no panic while held").clone(),
            began: Instant::now(),
            before: control.still(),
        }
    }

    /// When so much time will have passed on it, as it looks now.
    pub fn at(&self, elapsed: Duration) -> Instant {
        self.began + elapsed + self.still()
    }

    /// How long it has stood still.
    fn still(&self) -> Duration {
        self.control.still().saturating_sub(self.before)
    }

    /// How much has passed on it.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed().saturating_sub(self.still())
    }

    /// Who stopped it, if it stands still.
    pub fn paused(&self) -> Option<String> {
        self.orders.borrow().pause.as_ref().map(Intent::who)
    }

    /// Who ended the hold before its time, if anybody.
    pub fn skipped(&self) -> Option<String> {
        self.orders.borrow().skips(&self.stage).map(Intent::who)
    }

    /// Who approved what the hold waits for, if anybody.
    pub fn approved(&self) -> Option<String> {
        self.orders.borrow().approved.get(&self.stage).map(Intent::who)
    }

    /// Wakes when something else is asked.
    pub async fn changed(&mut self) {
        if self.orders.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
