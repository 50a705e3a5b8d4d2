//! A hold: gates are measured, pods are watched, and the clock runs only while nothing stands against going on.

use super::compare::Contest;
use super::control::HoldClock;
use super::deserted::Deserted;
use super::ledger;
use super::perform::{Stand, StepError};
use super::store_news;
use crate::domain::effect::{Arm, Follow, SmokeVia, Until};
use crate::domain::environment::SmokeTest;
use crate::domain::event::Kind;
use crate::domain::gate::{Gate, Metric};
use crate::domain::object::ObjectRef;
use crate::domain::units::human;
use crate::ports::metrics::{self, Measurement, Reading, revision_in};
use crate::rollout::gate::{self, Decision, GateVerdict, Measured, Watch};
use crate::rollout::readiness::{self, pods::Sort};
use futures::future::{join_all, select_all};
use futures::stream::{FuturesUnordered, StreamExt as _};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Time between synthetic probes where no users' requests arrive.
const PROBE_INTERVAL: Duration = Duration::from_secs(30);
/// How long one measurement may take before the store counts as down.
const MEASURE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a hold may pass over a watch on its pods that is broken.
const UNSEEN: Duration = Duration::from_mins(1);
/// How often pods are looked at that nothing is heard of: some causes count only after a while.
const RIPENS: Duration = Duration::from_secs(5);

/// One side of what a gate watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    New,
    Stable,
}

/// One gate over one component, and when it is measured next.
pub(super) struct Post<'a> {
    pub gate: &'a Gate,
    pub arm: &'a Arm,
    watch: Watch,
    /// `None` while it is being read: a slow store is not asked the same again meanwhile.
    due: Option<Instant>,
    alerted: bool,
}

/// What was read for a post, and when it is due again.
struct Look {
    post: usize,
    due: Instant,
    new: Measured,
    stable: Option<Measured>,
}

/// What a hold lasts for and watches.
pub(super) struct Hold<'a> {
    pub duration: Duration,
    /// How much longer it may last while something stands against going on.
    pub patience: Duration,
    pub until: &'a Until,
    pub gates: &'a [Gate],
    pub arms: &'a [Arm],
    pub probes: &'a [SmokeTest],
    pub follow: &'a [Follow],
}

impl Stand<'_> {
    /// Watches gates and pods side by side, and puts on record what the gates see. Neither a store that gives no answer nor
    /// a record holds up the way back of pods that crash: what is under way is dropped.
    pub async fn hold(&self, hold: &Hold<'_>) -> Result<String, StepError> {
        tokio::select! {
            biased;
            crashed = self.crashed(hold.arms) => Err(crashed),
            watched = Box::pin(self.watch(hold)) => watched,
            () = self.keep_record() => unreachable!("whoever keeps the record does so until the hold is over"),
        }
    }

    /// Watches for the duration; a gate without a verdict, or one that stable breaches too, prolongs it up to `patience`.
    /// Its clock stands still while the run is paused, and whoever promotes ends it.
    async fn watch(&self, hold: &Hold<'_>) -> Result<String, StepError> {
        let Hold { duration, patience, until, gates, arms, probes, follow } = *hold;
        let began = Instant::now();
        let mut size_due = began;
        let mut clock = HoldClock::start(self.control);
        let mut posts = posts(gates, arms, began);
        let mut contests = self.contests(gates, arms);
        let mut probe_due = began + PROBE_INTERVAL;
        let mut asked: Option<Duration> = None;
        let mut readings = FuturesUnordered::new();
        let convinced = loop {
            let now = Instant::now();
            for (index, post) in posts.iter_mut().enumerate() {
                if post.due.take_if(|due| *due <= now).is_some() {
                    readings.push(self.read_post(index, now + post.gate.interval, post.gate, post.arm));
                }
            }
            let due = contests.iter_mut().filter(|contest| contest.due <= now);
            let compared = join_all(due.map(|contest| self.compare(contest))).await;
            compared.into_iter().collect::<Result<(), StepError>>()?;
            self.tell_store_news();
            if !probes.is_empty() && probe_due <= now {
                probe_due = now + PROBE_INTERVAL;
                self.probe(probes, arms).await?;
            }
            self.keep_up(follow, &mut size_due).await;
            let mut next = clock.at(duration);
            // What was asked by the end counts, and no store takes longer than this to answer or not.
            let all_read = |end: Instant| readings.is_empty() || now >= end + MEASURE_TIMEOUT;
            let promoted = clock.skipped().is_some();
            let stands = standing(&posts)
                .or_else(|| contests.iter().find_map(Contest::standing))
                .or_else(|| self.unseen(arms));
            let convinced =
                stands.is_none() && !contests.is_empty() && contests.iter().all(Contest::is_convinced);
            if let Some(who) = clock.paused() {
                self.progress(format!("held up: paused by {who}"));
                next = now;
            } else if promoted || (all_read(next) && (convinced || now >= next)) {
                if let Some(why) = blind(&posts, &contests).filter(|_| !promoted) {
                    return Err(StepError::failed(why));
                }
                let late = clock.elapsed() >= duration + patience;
                let against = match stands.filter(|_| !promoted) {
                    None if !promoted => self.too_few_requests(&posts, &contests, until, began).await,
                    stands => stands,
                };
                match against {
                    None => match self.approval(until, &clock, &mut asked)? {
                        None => break convinced,
                        Some(end) => next = end,
                    },
                    Some(why) if late => {
                        let still = human(patience);
                        return Err(StepError::failed(format!("{why}, still so {still} after the hold")));
                    }
                    Some(why) => self.progress(format!("held up: {why}")),
                }
            }
            let looks =
                posts.iter().filter_map(|post| post.due).chain(contests.iter().map(|contest| contest.due));
            let probe = (!probes.is_empty()).then_some(probe_due);
            let size = (!follow.is_empty()).then_some(size_due);
            let end = (next > Instant::now()).then_some(next);
            let wake = looks.chain(probe).chain(size).chain(end).min().unwrap_or(now + PROBE_INTERVAL);
            self.until(wake, &mut posts, &mut readings, &mut clock).await?;
        };
        self.close(contests).await;
        Ok(over(hold, &clock, convinced, &seconds(began.elapsed())))
    }

    /// Takes readings in as they come; ends at `wake`, when none is under way any more, or when an operator asks something.
    async fn until(
        &self,
        wake: Instant,
        posts: &mut [Post<'_>],
        readings: &mut FuturesUnordered<impl Future<Output = Look>>,
        clock: &mut HoldClock<'_>,
    ) -> Result<(), StepError> {
        loop {
            tokio::select! {
                biased;
                () = clock.changed() => return Ok(()),
                Some(Look { post, due, new, stable }) = readings.next(), if !readings.is_empty() => {
                    posts[post].due = Some(due);
                    self.measured(&mut posts[post], &new, stable.as_ref())?;
                    if readings.is_empty() {
                        return Ok(());
                    }
                }
                () = tokio::time::sleep_until(wake) => return Ok(()),
            }
        }
    }

    /// Puts what the gates saw on record now and then, until it is dropped.
    async fn keep_record(&self) {
        let Ok(site) = self.site() else { return std::future::pending().await };
        let ledger = &self.comparisons.ledger;
        loop {
            tokio::time::sleep_until(ledger.due(self.target)).await;
            if !ledger.has_tests(self.target) {
                tokio::time::sleep(ledger::BETWEEN_MEASURED).await;
            }
            ledger.save(self.target, site.state.as_ref(), self.world.clock.now()).await;
        }
    }

    /// The hold is over and all is well: its comparisons go on in the next one, and what the gates saw goes on record
    /// before the run goes on.
    async fn close(&self, contests: Vec<Contest<'_>>) {
        self.keep(contests);
        let Ok(site) = self.site() else { return };
        let (ledger, now) = (&self.comparisons.ledger, self.world.clock.now());
        let saved = ledger.save(self.target, site.state.as_ref(), now);
        let _ = tokio::time::timeout(ledger::PATIENCE, saved).await;
    }

    /// New pods that crash end the hold at once, whatever the gates say.
    fn crash_check(&self, arms: &[Arm]) -> Result<(), StepError> {
        let cluster = self.cluster()?;
        for arm in arms {
            let snapshots = cluster.follow(&arm.new.namespace);
            let snapshot = snapshots.borrow();
            let now = self.world.clock.now();
            if let Some(state) = snapshot.workloads.get(&arm.new)
                // An autoscaler that asks for more pods than fit is no fault of what they run.
                && readiness::doom(&snapshot, &arm.new, state, now)
                    .is_none_or(|doom| doom.cause.sort != Sort::Unschedulable)
                && let Some(why) = readiness::doomed(&snapshot, &arm.new, state, now)
            {
                return Err(StepError::failed(why));
            }
        }
        Ok(())
    }

    /// Why it is not known whether new pods crash, if it is not: nobody may go on for not having looked.
    fn unseen(&self, arms: &[Arm]) -> Option<String> {
        let cluster = self.cluster().ok()?;
        arms.iter().find_map(|arm| {
            let since = cluster.follow(&arm.new.namespace).borrow().stale_since?;
            let blind = since.elapsed();
            let unseen = || format!("the pods of {} have not been seen for {}", arm.new.name, seconds(blind));
            (blind > UNSEEN).then(unseen)
        })
    }

    /// Ends when new pods crash, or none of them is ready any more.
    async fn crashed(&self, arms: &[Arm]) -> StepError {
        let cluster = match self.cluster() {
            Ok(cluster) => cluster,
            Err(error) => return error,
        };
        let namespaces: BTreeSet<&str> = arms.iter().map(|arm| arm.new.namespace.as_str()).collect();
        let mut deserted = Deserted::default();
        let mut doors: Vec<_> = namespaces.into_iter().map(|namespace| cluster.follow(namespace)).collect();
        loop {
            doors.iter_mut().for_each(watch::Receiver::mark_unchanged);
            if let Err(error) = self.crash_check(arms).and_then(|()| deserted.look(self, arms)) {
                return error;
            }
            let changes: Vec<_> = doors.iter_mut().map(|door| Box::pin(door.changed())).collect();
            let ripe = Instant::now() + RIPENS;
            let ripe = tokio::time::sleep_until(deserted.due().map_or(ripe, |due| due.min(ripe)));
            if changes.is_empty() {
                ripe.await;
            } else {
                tokio::select! {
                    biased;
                    (Ok(()), ..) = select_all(changes) => {}
                    () = ripe => {}
                }
            }
        }
    }

    /// Both sides of a gate, at the same moment.
    async fn read_post(&self, post: usize, due: Instant, gate: &Gate, arm: &Arm) -> Look {
        let (new, stable) = tokio::join!(self.measured_over(gate, arm, Side::New, gate.window), async {
            match &arm.stable {
                Some(_) => Some(self.measured_over(gate, arm, Side::Stable, gate.window).await),
                None => None,
            }
        });
        Look { post, due, new, stable }
    }

    /// What a gate makes of its readings.
    fn measured(
        &self,
        post: &mut Post<'_>,
        new: &Measured,
        stable: Option<&Measured>,
    ) -> Result<(), StepError> {
        let verdict = gate::judge(post.gate, new, stable);
        let text = |measured: &Measured| {
            measured.as_ref().ok().and_then(|r| r.value).map(|value| post.gate.metric.format(value))
        };
        let (new_text, stable_text) = (text(new), stable.and_then(text));
        self.teller.tell(Kind::GateMeasured {
            gate: post.gate.name.clone(),
            target: self.target.clone(),
            component: post.arm.component.clone(),
            verdict: verdict.label(),
            new: new_text.clone(),
            stable: stable_text.clone(),
            limit: gate::limit_text(post.gate),
            explanation: None,
        });
        self.alert(post, verdict, new);
        let mut shown = new_text.unwrap_or_else(|| "-".to_owned());
        if let Some(stable) = stable_text {
            shown = format!("{shown} (stable {stable})");
        }
        let shown = format!("of {} {shown}", post.arm.component);
        let decision = post.watch.observe(post.gate, verdict, &shown);
        let ended = matches!(decision, Decision::RollBack(_));
        let at = self.world.clock.now().as_millisecond() as f64 / 1000.0;
        let taken = ledger::taken((at, self.step), new, stable, verdict.label(), ended);
        self.comparisons.ledger.measured(self.target, post.gate, &post.arm.component, taken);
        match decision {
            Decision::RollBack(why) => Err(StepError::failed(why)),
            Decision::Pass | Decision::Wait(_) => Ok(()),
        }
    }

    /// Says once per hold that a gate cannot judge, or that stable suffers too.
    fn alert(&self, post: &mut Post<'_>, verdict: GateVerdict, new: &Measured) {
        let message = match (verdict, new) {
            (GateVerdict::SharedBad, _) => "stable breaches the limit too: the cause is elsewhere".to_owned(),
            (GateVerdict::BackendDown, Err(error)) => store_news::silent(error),
            _ => return,
        };
        if !post.alerted {
            post.alerted = true;
            let message = format!("gate {} of {}: {message}", post.gate.name, post.arm.component);
            self.teller.tell(Kind::Alert { severity: "warning", target: Some(self.target.clone()), message });
        }
    }

    /// Names of what owns the newest pods of a workload.
    pub(super) fn owners(&self, workload: &ObjectRef) -> Vec<String> {
        let Ok(cluster) = self.cluster() else { return Vec::new() };
        if workload.kind != "Deployment" {
            return vec![workload.name.clone()];
        }
        let snapshots = cluster.follow(&workload.namespace);
        let snapshot = snapshots.borrow();
        snapshot.current_replica_sets(workload).into_iter().map(str::to_owned).collect()
    }

    /// What names the pods of one side.
    pub(super) fn owners_of(&self, arm: &Arm, side: Side) -> Vec<String> {
        if !arm.is_one_workload() {
            let workload = if side == Side::New { Some(&arm.new) } else { arm.stable.as_ref() };
            return workload.map_or_else(Vec::new, |workload| self.owners(workload));
        }
        let Ok(cluster) = self.cluster() else { return Vec::new() };
        let snapshots = cluster.follow(&arm.new.namespace);
        let snapshot = snapshots.borrow();
        snapshot.pods_by_template(&arm.new, side == Side::New).into_iter().map(metrics::only).collect()
    }

    /// Measures a gate's metric of one side as far back as this.
    pub(super) async fn measured_over(
        &self,
        gate: &Gate,
        arm: &Arm,
        side: Side,
        window: Duration,
    ) -> Measured {
        let owners = self.owners_of(arm, side);
        if owners.is_empty() {
            return Ok(Reading { value: None, requests: None });
        }
        let target = self.plan.targets.get(self.target);
        let (version, revision) = match side {
            Side::New => (Some(self.plan.version.clone()), Some(self.plan.revision)),
            Side::Stable => (
                target.and_then(|target| target.previous_version.clone()),
                target.and_then(|target| target.previous),
            ),
        };
        let workload = if side == Side::New { Some(&arm.new) } else { arm.stable.as_ref() };
        // What is changed in place has no revision in its name: the release's stands for it.
        let named = workload.and_then(|workload| revision_in(&workload.name));
        let revision = named.or_else(|| revision.map(|revision| revision.0.to_string()));
        let what = Measurement {
            metric: gate.metric.clone(),
            target: self.target.clone(),
            region: target.map_or_else(|| self.target.to_string(), |target| target.region.clone()),
            namespace: arm.new.namespace.clone(),
            component: arm.component.clone(),
            owners,
            version,
            revision,
            window,
        };
        match tokio::time::timeout(MEASURE_TIMEOUT, self.world.metrics.measure(&what)).await {
            Ok(measured) => measured,
            Err(_) => Err(metrics::MetricsError::Down {
                message: format!("no answer within {}", human(MEASURE_TIMEOUT)),
            }),
        }
    }

    async fn probe(&self, probes: &[SmokeTest], arms: &[Arm]) -> Result<(), StepError> {
        let workloads = arms.iter().map(|arm| (arm.component.clone(), arm.new.clone())).collect();
        self.smoke(probes, &SmokeVia::Pods { workloads }).await.map(|_| ())
    }
}

/// How a hold ended.
fn over(hold: &Hold<'_>, clock: &HoldClock<'_>, convinced: bool, took: &str) -> String {
    let Hold { duration, patience, until, gates, arms, .. } = *hold;
    if gates.is_empty() && arms.is_empty() {
        return format!("{took} have passed");
    }
    let early = convinced && clock.elapsed() < duration;
    let approved = clock.approved().filter(|_| until.approval.is_some());
    let approved = approved.map_or_else(String::new, |who| format!(", approved by {who}"));
    let promoted = clock.skipped().filter(|_| clock.elapsed() < duration + patience);
    let early = if early && promoted.is_none() { ", as good as stable" } else { "" };
    let promoted = promoted.map_or_else(String::new, |who| format!(", promoted by {who}"));
    format!("{took} without a breach{early}{promoted}{approved}")
}

fn seconds(duration: Duration) -> String {
    human(Duration::from_secs(duration.as_secs()))
}

fn posts<'a>(gates: &'a [Gate], arms: &'a [Arm], began: Instant) -> Vec<Post<'a>> {
    let measured = gates.iter().filter(|gate| !matches!(gate.metric, Metric::AgainstStable(_)));
    let pairs = measured.flat_map(|gate| {
        arms.iter().filter(|arm| gate.components.contains(&arm.component)).map(move |arm| (gate, arm))
    });
    pairs
        .map(|(gate, arm)| Post {
            gate,
            arm,
            watch: Watch::default(),
            due: Some(began + gate.interval),
            alerted: false,
        })
        .collect()
}

/// What may not go on without data, and has none.
fn blind(posts: &[Post<'_>], contests: &[Contest<'_>]) -> Option<String> {
    let post = posts.iter().find(|post| post.watch.fails_without_data(post.gate));
    let contest = contests.iter().find(|contest| contest.fails_without_data());
    post.map(|post| format!("gate {} of {}: no verdict for want of data", post.gate.name, post.arm.component))
        .or_else(|| contest.and_then(Contest::standing))
}

/// What stands against going on, if anything.
fn standing(posts: &[Post<'_>]) -> Option<String> {
    posts.iter().find_map(|post| match post.watch.decide(post.gate) {
        Decision::Pass => None,
        Decision::Wait(why) | Decision::RollBack(why) => Some(why),
    })
}
