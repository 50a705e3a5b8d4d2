//! Which faults are at work, and what they do to a process.

use std::collections::BTreeMap;

use super::cluster::Cluster;
use super::faults::{Fault, FaultKind, ScheduledFault, When};
use super::pods::behaviour::Behaviour;
use super::pods::{PodIndex, PodRun};
use super::queue::Millis;

/// A fault of the schedule.
#[derive(Clone, Debug)]
struct Entry {
    fault: Fault,
    when: When,
    began: Option<Millis>,
    /// For faults that hit a number of requests.
    left: u64,
    /// It is over before its time.
    over: bool,
}

/// The schedule of faults and how far it is.
#[derive(Clone, Debug, Default)]
pub struct ActiveFaults {
    entries: Vec<Entry>,
}

impl Entry {
    fn lasts(&self, began: Millis, now: Millis) -> bool {
        self.fault.seconds == 0 || now < began + self.fault.seconds * 1000
    }
}

/// The faults that change processes of one cluster now.
#[derive(Debug, Default)]
pub struct Effects {
    faults: Vec<Fault>,
    cluster: String,
    /// The revision under test of each component.
    tested: BTreeMap<String, u64>,
}

/// The number of a revision label; 0 for what has none.
#[must_use]
pub fn revision_number(revision: &str) -> u64 {
    revision.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(0)
}

impl ActiveFaults {
    /// A schedule.
    #[must_use]
    pub fn new(schedule: &[ScheduledFault]) -> Self {
        let mut faults = Self::default();
        for scheduled in schedule {
            faults.add(scheduled);
        }
        faults
    }

    /// Adds a fault; returns its place.
    pub fn add(&mut self, scheduled: &ScheduledFault) -> usize {
        self.entries.push(Entry {
            fault: scheduled.fault.clone(),
            when: scheduled.when.clone(),
            began: None,
            left: 0,
            over: false,
        });
        self.entries.len() - 1
    }

    /// The faults that begin at a time: (time, place).
    #[must_use]
    pub fn timed(&self) -> Vec<(Millis, usize)> {
        let entries = self.entries.iter().enumerate();
        entries
            .filter_map(|(place, entry)| match entry.when {
                When::At(at) => Some((at, place)),
                When::Label(_) => None,
            })
            .collect()
    }

    /// The places of the faults that wait for this label.
    #[must_use]
    pub fn labelled(&self, label: &str) -> Vec<usize> {
        let waits =
            |entry: &Entry| entry.began.is_none() && matches!(&entry.when, When::Label(own) if own == label);
        self.entries.iter().enumerate().filter(|(_, entry)| waits(entry)).map(|(place, _)| place).collect()
    }

    /// The fault at `place` begins.
    pub fn begin(&mut self, place: usize, now: Millis) -> Option<Fault> {
        let entry = self.entries.get_mut(place)?;
        if entry.began.is_some() || entry.over {
            return None;
        }
        entry.began = Some(now);
        if entry.fault.kind == FaultKind::Conflict {
            entry.left = entry.fault.amount.max(0.0) as u64;
        }
        Some(entry.fault.clone())
    }

    /// The faults that have begun, as texts with the time of their beginning.
    #[must_use]
    pub fn begun(&self) -> Vec<(Millis, String)> {
        self.entries.iter().filter_map(|entry| Some((entry.began?, entry.fault.to_string()))).collect()
    }

    fn at_work(&self, now: Millis) -> impl Iterator<Item = &Fault> {
        self.entries
            .iter()
            .filter(move |entry| !entry.over && entry.began.is_some_and(|began| entry.lasts(began, now)))
            .map(|entry| &entry.fault)
    }

    /// A partition that names no region is one of the first.
    pub fn settle_scope(&mut self, place: usize, first: &str) {
        let Some(entry) = self.entries.get_mut(place) else { return };
        if entry.fault.kind == FaultKind::Partition && entry.fault.scope.is_none() {
            entry.fault.scope = Some(first.to_owned());
        }
    }

    /// Everything that goes wrong is over, and what was still to come does not.
    pub fn end(&mut self) {
        for entry in &mut self.entries {
            entry.over = true;
            entry.left = 0;
        }
    }

    /// The faults that have begun in a cluster, and when, those that are over included.
    pub fn history(&self, cluster: &str) -> impl Iterator<Item = (Millis, &Fault)> {
        let begun = self.entries.iter().filter_map(|entry| Some((entry.began?, &entry.fault)));
        begun.filter(move |(_, fault)| fault.kind.on_pods() || fault.hits_cluster(cluster))
    }

    /// How far the clock of the operator's machine is off, in milliseconds.
    #[must_use]
    pub fn clock_skew(&self) -> i64 {
        let jumps = self
            .entries
            .iter()
            .filter(|entry| entry.began.is_some() && !entry.over && entry.fault.kind == FaultKind::ClockJump);
        jumps.map(|entry| (entry.fault.amount * 1000.0) as i64).sum()
    }

    /// Until when the operator's machine stands still, if it does.
    #[must_use]
    pub fn suspended_until(&self, now: Millis) -> Option<Millis> {
        let stands =
            self.entries.iter().filter(|entry| entry.fault.kind == FaultKind::Suspend && !entry.over);
        let ends =
            stands.filter_map(|entry| Some(entry.began? + (entry.fault.amount.max(0.0) * 1000.0) as Millis));
        ends.filter(|end| *end > now).max()
    }

    /// The fault of this kind that is at work in the cluster.
    #[must_use]
    pub fn of_kind(&self, kind: FaultKind, cluster: &str, now: Millis) -> Option<&Fault> {
        self.at_work(now).find(|fault| fault.kind == kind && fault.hits_cluster(cluster))
    }

    /// Takes one of the conflicts that are still to be dealt out to a cluster.
    pub fn take_conflict(&mut self, cluster: &str) -> bool {
        let waits = |entry: &&mut Entry| entry.left > 0 && entry.fault.hits_cluster(cluster);
        match self.entries.iter_mut().find(waits) {
            Some(entry) => {
                entry.left -= 1;
                true
            }
            None => false,
        }
    }

    /// What changes processes of `cluster` now.
    #[must_use]
    pub fn effects(&self, cluster: &Cluster, now: Millis) -> Effects {
        let faults: Vec<Fault> = self.at_work(now).filter(|fault| fault.kind.on_pods()).cloned().collect();
        if faults.is_empty() {
            return Effects::default();
        }
        Effects { faults, cluster: cluster.name.clone(), tested: revisions_under_test(cluster) }
    }

    /// How a process behaves now, if faults change it.
    #[must_use]
    pub fn behaviour(&self, cluster: &Cluster, index: PodIndex, now: Millis) -> Option<Behaviour> {
        self.effects(cluster, now).apply(&cluster.kubelet.runs[index])
    }
}

/// The newest revision of each component, where it is newer than what was there when the world was called stable.
fn revisions_under_test(cluster: &Cluster) -> BTreeMap<String, u64> {
    let mut newest: BTreeMap<String, u64> = BTreeMap::new();
    for index in cluster.kubelet.present() {
        let run = &cluster.kubelet.runs[index];
        let revision = revision_number(&run.revision);
        let known = newest.entry(run.component.clone()).or_insert(revision);
        *known = (*known).max(revision);
    }
    newest.retain(|component, revision| {
        cluster.baseline.get(component).is_none_or(|stable| *revision > *stable)
    });
    newest
}

impl Effects {
    /// Whether a process is of the revision under test.
    #[must_use]
    pub fn is_tested(&self, run: &PodRun) -> bool {
        self.tested.get(&run.component) == Some(&revision_number(&run.revision))
    }

    /// Whether the fault concerns `run`.
    #[must_use]
    pub fn hits(&self, fault: &Fault, run: &PodRun) -> bool {
        let tested = fault.kind.spares_no_version() || self.is_tested(run);
        let meant = run.job == (fault.kind == FaultKind::HookHang) || fault.kind == FaultKind::RegistryDown;
        tested && meant && fault.hits_component(&self.cluster, &run.component)
    }

    /// How `run` behaves now, if faults change it.
    #[must_use]
    pub fn apply(&self, run: &PodRun) -> Option<Behaviour> {
        let mut changed: Option<Behaviour> = None;
        for fault in &self.faults {
            if !self.hits(fault, run) {
                continue;
            }
            let behaviour = changed.get_or_insert_with(|| run.own.clone());
            match fault.kind {
                FaultKind::CrashLoop => behaviour.crash = true,
                FaultKind::RegistryDown => behaviour.registry_down = true,
                FaultKind::HookHang => behaviour.hang = true,
                FaultKind::ErrorSpike | FaultKind::SharedErrorSpike | FaultKind::Dependency => {
                    behaviour.error_share = behaviour.error_share.max(fault.amount / 100.0);
                }
                FaultKind::Latency => behaviour.added_latency += fault.amount / 1000.0,
                FaultKind::SmokeFail => behaviour.smoke_fail = true,
                FaultKind::ImageMissing => behaviour.missing = true,
                FaultKind::ConfigMissing => behaviour.no_config = true,
                FaultKind::SlowStart => behaviour.slow_start = Some(fault.amount),
                FaultKind::Unready => behaviour.unready = true,
                FaultKind::PodCrashAfter => behaviour.crash_after = Some(fault.amount),
                _ => {}
            }
        }
        changed
    }
}
