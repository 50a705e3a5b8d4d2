//! What is there between two processes of a run, and the doors through which a process sees it: each record and each
//! effect is a point at which something can go wrong.

use async_trait::async_trait;
use deployctl::domain::counters::PodSample;
use deployctl::domain::ids::{RunId, StepId, TargetId};
use deployctl::domain::intent::{Intent, Wish};
use deployctl::domain::release::Actor;
use deployctl::domain::secret::{SecretRef, SecretValue};
use deployctl::ports::Clock;
use deployctl::ports::compose::{Compose, ComposeError, Service};
use deployctl::ports::metrics::{CountersOf, Measurement, Metrics, MetricsError, Reading};
use deployctl::ports::probe::{HttpAnswer, HttpQuestion, Probe, ProbeError};
use deployctl::ports::secrets::{SecretError, Secrets};
use deployctl::ports::state::{Holder, Lock, LockError, Record, RecordKind, StateError, StateStore};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// What goes wrong, or is asked, at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// The process dies before the server is reached.
    DiesBefore,
    /// The process dies when the server has done it.
    DiesAfter,
    /// The server refuses.
    Refused,
    /// The server does it, and its answer is lost.
    AnswerLost,
    /// From here on this target gives no answer, for half a minute.
    Away,
    /// From here on this target gives no answer at all.
    Gone,
    /// From here on this effect fails each time, half done.
    Breaks,
    /// The lease is lost while this goes on.
    LeaseLost,
    /// Ctrl-C.
    Interrupt,
    /// An operator asks to abort.
    Abort,
    /// An operator asks to pause, and a minute later to go on.
    Pause,
    /// An operator asks to hold no more.
    Promote,
}

impl Mishap {
    /// At a record.
    pub const OF_RECORDS: [Self; 10] = [
        Self::DiesBefore,
        Self::DiesAfter,
        Self::Refused,
        Self::AnswerLost,
        Self::Away,
        Self::Gone,
        Self::LeaseLost,
        Self::Interrupt,
        Self::Abort,
        Self::Pause,
    ];
    /// At an effect.
    pub const OF_EFFECTS: [Self; 9] = [
        Self::DiesBefore,
        Self::DiesAfter,
        Self::Refused,
        Self::Gone,
        Self::Breaks,
        Self::LeaseLost,
        Self::Interrupt,
        Self::Abort,
        Self::Promote,
    ];
}

/// What outlives a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// By target, kind and name.
    pub records: BTreeMap<(TargetId, RecordKind, String), Vec<u8>>,
    /// What each step's switch stands at: whether it is the new release.
    pub new: BTreeMap<StepId, bool>,
}

/// What a process met.
#[derive(Debug, Default)]
pub struct Trace {
    /// Points so far: whether it was an effect, and of what.
    pub points: Vec<(bool, String)>,
    /// Effects in order: which step, and whether forward.
    pub turned: Vec<(StepId, bool)>,
    /// What may not be.
    pub wrong: Vec<String>,
}

/// What is looked at before a switch is turned: the disk, the step, whether forward.
pub type Watchman = dyn Fn(&Disk, &StepId, bool) -> Result<(), String> + Send + Sync;
/// A wrong engine: what becomes of a record that it writes; `None` is not written.
pub type Spoiler = dyn Fn(RecordKind, &[u8]) -> bool + Send + Sync;

/// Somebody who wants to know what a target's records of a kind, with a prefix, are.
type Follower = (TargetId, RecordKind, String, watch::Sender<Option<Vec<Record>>>);

/// The world of one process.
pub struct Stage {
    pub disk: Mutex<Disk>,
    pub trace: Mutex<Trace>,
    /// At which point, and what.
    pub mishap: Option<(usize, Mishap)>,
    pub run: RunId,
    pub watchman: Arc<Watchman>,
    /// Whether a record is kept.
    pub keeps: Arc<Spoiler>,
    pub dead: watch::Sender<bool>,
    pub interrupts: watch::Sender<u32>,
    followers: Mutex<Vec<Follower>>,
    /// Targets without an answer, until when.
    away: Mutex<BTreeMap<TargetId, tokio::time::Instant>>,
    /// Steps whose effect fails each time.
    broken: Mutex<Vec<StepId>>,
    lease_lost: Mutex<bool>,
    began: tokio::time::Instant,
}

impl Stage {
    pub fn new(
        disk: Disk,
        run: &RunId,
        mishap: Option<(usize, Mishap)>,
        watchman: Arc<Watchman>,
        keeps: Arc<Spoiler>,
    ) -> Self {
        Self {
            disk: Mutex::new(disk),
            trace: Mutex::default(),
            mishap,
            run: run.clone(),
            watchman,
            keeps,
            dead: watch::channel(false).0,
            interrupts: watch::channel(0).0,
            followers: Mutex::default(),
            away: Mutex::default(),
            broken: Mutex::default(),
            lease_lost: Mutex::default(),
            began: tokio::time::Instant::now(),
        }
    }

    /// A point; what goes wrong at it.
    fn point(&self, effect: bool, what: String) -> Option<Mishap> {
        let mut trace = self.trace.lock().unwrap();
        trace.points.push((effect, what));
        self.mishap.filter(|(at, _)| *at + 1 == trace.points.len()).map(|(_, mishap)| mishap)
    }

    async fn die(&self) -> ! {
        self.dead.send_replace(true);
        std::future::pending::<()>().await;
        unreachable!("the dead do not wake");
    }

    fn silent(&self, target: &TargetId) -> bool {
        self.away.lock().unwrap().get(target).is_some_and(|until| tokio::time::Instant::now() < *until)
    }

    fn leave(&self, target: &TargetId, time: Duration) {
        self.away.lock().unwrap().insert(target.clone(), tokio::time::Instant::now() + time);
    }

    /// What operators and the outside do at a point, whatever it is of.
    async fn meanwhile(self: &Arc<Self>, mishap: Option<Mishap>) {
        match mishap {
            Some(Mishap::Interrupt) => drop(self.interrupts.send_replace(1)),
            Some(Mishap::Abort) => self.ask(Wish::Abort { superseded_by: None }),
            Some(Mishap::Promote) => self.ask(Wish::PromoteFull),
            Some(Mishap::Pause) => {
                self.ask(Wish::Pause);
                let later = Arc::clone(self);
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_mins(1)).await;
                    later.ask(Wish::Resume);
                });
            }
            Some(Mishap::LeaseLost) => {
                *self.lease_lost.lock().unwrap() = true;
                tokio::time::sleep(Duration::from_hours(1)).await;
            }
            _ => {}
        }
    }

    /// Leaves a wish with the first target alone.
    fn ask(&self, wish: Wish) {
        let mut disk = self.disk.lock().unwrap();
        let target =
            disk.records.keys().map(|(target, ..)| target.clone()).max().unwrap_or_else(|| "west".into());
        let number =
            1 + disk.records.keys().filter(|(_, kind, _)| *kind == RecordKind::Intent).count() as u64;
        let epochs = disk.records.keys().filter(|(_, kind, _)| *kind == RecordKind::Journal);
        let epoch =
            epochs.filter_map(|(_, _, name)| name.rsplit('.').nth(1)?.parse().ok()).max().unwrap_or(1);
        let intent = Intent {
            format: 1,
            id: format!("wish-{number}"),
            number,
            run: self.run.clone(),
            epoch,
            at: self.now(),
            by: Actor { user: "ana".into(), host: "desk".into(), ci: None },
            wish,
            reason: None,
        };
        let name = format!("{}.{number:06}", self.run);
        disk.records.insert((target.clone(), RecordKind::Intent, name), serde_json::to_vec(&intent).unwrap());
        drop(disk);
        self.tell(&target, RecordKind::Intent);
    }

    fn matching(&self, target: &TargetId, kind: RecordKind, prefix: &str) -> Vec<Record> {
        let disk = self.disk.lock().unwrap();
        let found =
            disk.records.iter().filter(|((t, k, n), _)| t == target && *k == kind && n.starts_with(prefix));
        found
            .map(|((.., name), content)| Record {
                name: name.clone(),
                content: content.clone(),
                damage: None,
            })
            .collect()
    }

    fn tell(&self, target: &TargetId, kind: RecordKind) {
        for (t, k, prefix, sender) in self.followers.lock().unwrap().iter() {
            if t == target && *k == kind {
                sender.send_replace(Some(self.matching(target, kind, prefix)));
            }
        }
    }
}

impl Clock for Stage {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + self.began.elapsed()
    }
}

/// One target's doors.
pub struct Door {
    pub stage: Arc<Stage>,
    pub target: TargetId,
}

#[async_trait]
impl StateStore for Door {
    async fn create(&self, kind: RecordKind, name: &str, content: &[u8]) -> Result<(), StateError> {
        let unreachable = || StateError::Unreachable { message: "no answer".into() };
        if self.stage.silent(&self.target) {
            return Err(unreachable());
        }
        let text = String::from_utf8_lossy(content);
        let mishap = self.stage.point(false, format!("{kind:?} of {}: {text}", self.target));
        match mishap {
            Some(Mishap::DiesBefore) => self.stage.die().await,
            Some(Mishap::Refused) => {
                return Err(StateError::Forbidden { message: "a quota is used up".into() });
            }
            Some(Mishap::Away | Mishap::Gone) => {
                let time = if mishap == Some(Mishap::Away) {
                    Duration::from_secs(30)
                } else {
                    Duration::from_hours(99)
                };
                self.stage.leave(&self.target, time);
                return Err(unreachable());
            }
            _ => self.stage.meanwhile(mishap).await,
        }
        let key = (self.target.clone(), kind, name.to_owned());
        let known = self.stage.disk.lock().unwrap().records.get(&key).cloned();
        match known {
            // Our own record, whose answer was lost.
            Some(known) if known == content => {}
            Some(_) => return Err(StateError::Exists { name: name.to_owned() }),
            None if (self.stage.keeps)(kind, content) => {
                self.stage.disk.lock().unwrap().records.insert(key, content.to_vec());
                self.stage.tell(&self.target, kind);
            }
            None => {}
        }
        match mishap {
            Some(Mishap::DiesAfter) => self.stage.die().await,
            Some(Mishap::AnswerLost) => Err(unreachable()),
            _ => Ok(()),
        }
    }

    fn place(&self, kind: RecordKind, name: &str) -> String {
        format!("{}/{name}", kind.as_str())
    }

    async fn list(&self, kind: RecordKind, prefix: &str) -> Result<Vec<Record>, StateError> {
        if self.stage.silent(&self.target) {
            return Err(StateError::Unreachable { message: "no answer".into() });
        }
        Ok(self.stage.matching(&self.target, kind, prefix))
    }

    fn follow(&self, kind: RecordKind, prefix: &str) -> watch::Receiver<Option<Vec<Record>>> {
        let (sender, receiver) = watch::channel(Some(self.stage.matching(&self.target, kind, prefix)));
        self.stage.followers.lock().unwrap().push((self.target.clone(), kind, prefix.to_owned(), sender));
        receiver
    }

    async fn delete(&self, _: RecordKind, _: &str) -> Result<(), StateError> {
        Ok(())
    }
}

#[async_trait]
impl Lock for Door {
    async fn acquire(&self, _: &Holder) -> Result<(), LockError> {
        Ok(())
    }

    async fn renew(&self, holder: &Holder) -> Result<(), LockError> {
        if *self.stage.lease_lost.lock().unwrap() {
            return Err(LockError::Held(Box::new(holder.clone())));
        }
        if self.stage.silent(&self.target) {
            return Err(LockError::Unreachable("no answer".into()));
        }
        Ok(())
    }

    async fn release(&self, _: &Holder) -> Result<(), LockError> {
        Ok(())
    }

    async fn inspect(&self) -> Result<Option<Holder>, LockError> {
        Ok(None)
    }

    async fn break_lock(&self) -> Result<(), LockError> {
        Ok(())
    }
}

#[async_trait]
impl Compose for Door {
    async fn services(&self, _: &str) -> Result<Vec<Service>, ComposeError> {
        Ok(Vec::new())
    }

    async fn pull(&self, _: &str, _: &[(String, String)]) -> Result<(), ComposeError> {
        Ok(())
    }

    /// Turns the switch of the step that the project is named after.
    async fn up(
        &self,
        project: &str,
        images: &[(String, String)],
        _: Duration,
    ) -> Result<Duration, ComposeError> {
        let failed = |message: &str| Err(ComposeError { message: message.to_owned() });
        let (step, forward) = (StepId::new(project), images[0].1 == "new");
        if self.stage.silent(&self.target) {
            return failed("no answer");
        }
        let looked = (self.stage.watchman)(&self.stage.disk.lock().unwrap(), &step, forward);
        if let Err(wrong) = looked {
            self.stage.trace.lock().unwrap().wrong.push(wrong);
        }
        let mishap = self.stage.point(true, format!("{project} {}", images[0].1));
        match mishap {
            Some(Mishap::DiesBefore) => self.stage.die().await,
            Some(Mishap::Refused) => return failed("it is refused"),
            Some(Mishap::Gone) => {
                self.stage.leave(&self.target, Duration::from_hours(99));
                return failed("no answer");
            }
            Some(Mishap::Breaks) => self.stage.broken.lock().unwrap().push(step.clone()),
            _ => self.stage.meanwhile(mishap).await,
        }
        self.stage.disk.lock().unwrap().new.insert(step.clone(), forward);
        self.stage.trace.lock().unwrap().turned.push((step.clone(), forward));
        if mishap == Some(Mishap::DiesAfter) {
            self.stage.die().await;
        }
        if self.stage.broken.lock().unwrap().contains(&step) {
            return failed("it breaks, half done");
        }
        Ok(Duration::ZERO)
    }
}

/// Doors that nothing goes through: no step measures, asks or reads a secret.
pub struct Closed;

#[async_trait]
impl Metrics for Closed {
    async fn measure(&self, _: &Measurement) -> Result<Reading, MetricsError> {
        Err(MetricsError::Down { message: "closed".into() })
    }
    async fn samples(&self, _: &CountersOf) -> Result<Vec<PodSample>, MetricsError> {
        Err(MetricsError::Down { message: "closed".into() })
    }
    async fn history(
        &self,
        _: &CountersOf,
        _: Timestamp,
        _: Duration,
    ) -> Result<Vec<PodSample>, MetricsError> {
        Err(MetricsError::Down { message: "closed".into() })
    }
    fn knows(&self, _: &TargetId) -> bool {
        false
    }
    async fn reachable(&self, _: &TargetId) -> Result<(), MetricsError> {
        Err(MetricsError::Down { message: "closed".into() })
    }
}

#[async_trait]
impl Probe for Closed {
    async fn ask(&self, _: &HttpQuestion, _: Duration) -> Result<HttpAnswer, ProbeError> {
        Err(ProbeError { message: "closed".into() })
    }
}

#[async_trait]
impl Secrets for Closed {
    async fn read(&self, _: &SecretRef) -> Result<SecretValue, SecretError> {
        Err(SecretError { message: "closed".into() })
    }
}
