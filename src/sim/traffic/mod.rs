//! Traffic: how many requests come, which pods they reach, how they are answered.
//!
//! Every second each load draws its requests; they go the way of the data plane (`plane`), a share of them over
//! connections that were opened earlier and stay where they are. What a version received is counted here, per pod.

pub mod latency;
pub mod plane;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use self::latency::{Counters, LatencyModel, factor_at, timeouts_at};
use self::plane::{Miss, Plane, ServiceName};
use super::pods::behaviour::Behaviour;
use super::pods::{Kubelet, PodIndex, PodRun};
use super::queue::Millis;
use super::random::Random;

/// The share of requests that fail in a healthy process.
const USUAL_ERRORS: f64 = 0.000_1;

/// Seconds over which the load of a process is smoothed.
const LOAD_SECONDS: f64 = 30.0;

/// Users who come to one component of one cluster.
#[derive(Clone, Debug)]
pub struct LoadSpec {
    /// The component that they mean.
    pub component: String,
    /// The host that they ask for; found from the routers if empty.
    pub host: String,
    /// The path.
    pub path: String,
    /// Mean requests per second over the day.
    pub rps: f64,
    /// Requests per second that one pod answers at full use.
    pub pod_capacity: f64,
}

impl LoadSpec {
    /// `rps` requests per second for `component`, through whichever router leads to it.
    #[must_use]
    pub fn new(component: &str, rps: f64) -> Self {
        Self {
            component: component.to_owned(),
            host: String::new(),
            path: "/".to_owned(),
            rps,
            pod_capacity: 20.0,
        }
    }
}

/// What was counted of some traffic.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Requests that users sent.
    pub requests: u64,
    /// Requests that were answered 5xx, by a pod or by the router.
    pub failed: u64,
}

/// Who took requests away from users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The version under test, or a workload that stops before it starts anew.
    Release,
    /// What happens anyway.
    World,
    /// How the release was carried out.
    Orchestration,
}

/// Failed requests by who is to blame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failed {
    /// By the version under test.
    pub release: u64,
    /// By the world.
    pub world: u64,
    /// By how the release was carried out.
    pub orchestration: u64,
}

impl Failed {
    fn add(&mut self, blame: Blame, count: u64) {
        match blame {
            Blame::Release => self.release += count,
            Blame::World => self.world += count,
            Blame::Orchestration => self.orchestration += count,
        }
    }
}

/// How processes answer now, and who is to blame where they do not.
pub struct Answers<'a> {
    /// How a process behaves, if faults change it.
    pub behaviour: &'a dyn Fn(&super::pods::PodRun) -> Option<Behaviour>,
    /// Who is to blame for errors of a process.
    pub culprit: &'a dyn Fn(&super::pods::PodRun) -> Blame,
    /// Who is to blame when requests for a component find nobody, or nobody in time.
    pub nobody: &'a dyn Fn(&str) -> Blame,
}

/// What is sent to a component, by Service.
#[derive(Clone, Debug, PartialEq)]
pub struct Burden {
    /// The component that users mean.
    pub component: String,
    /// Mean requests per second.
    pub rps: f64,
    /// Requests per second that one pod answers.
    pub pod_capacity: f64,
    /// The sum of its route's weights.
    pub sum: f64,
    /// Percent of it by Service.
    pub weights: Vec<(ServiceName, f64)>,
}

/// What one component of one cluster received.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// All of it.
    pub all: Tally,
    /// By revision (its label; empty for pods that have none).
    pub by_revision: BTreeMap<String, Tally>,
    /// Requests that found no ready endpoint or a dead one.
    pub unrouted: u64,
    /// Failed requests by who is to blame.
    pub blamed: Failed,
    /// Seconds in which nothing answered.
    pub seconds_down: u64,
    /// The longest run of seconds in which the answering pods could not carry the load.
    pub longest_below_capacity: u64,
    /// Seconds in which the answering pods could not carry the load.
    pub seconds_below_capacity: u64,
}

/// One load and its connections.
#[derive(Clone, Debug)]
struct Flow {
    spec: LoadSpec,
    /// Where new connections go: the shares, by plane number.
    fresh: Result<Vec<(PodIndex, f64)>, Miss>,
    /// Where copies of requests go; their answers reach nobody.
    copies: Vec<(PodIndex, f64)>,
    fresh_of: Option<u64>,
    /// Where the long-lived connections are.
    held: BTreeMap<PodIndex, f64>,
    /// Users come once the component was ready for the first time.
    open: bool,
    below_since: u64,
    received: Received,
}

/// The traffic of one cluster.
#[derive(Clone, Debug)]
pub struct Traffic {
    flows: Vec<Flow>,
    plane: Arc<Plane>,
    plane_number: u64,
    coming: VecDeque<Arc<Plane>>,
    newest: Arc<Plane>,
    last_effect: Millis,
    model: LatencyModel,
    /// The share of requests over long-lived connections.
    pub held_share: f64,
    /// Seconds after which a long-lived connection is opened anew, in the mean.
    pub held_seconds: f64,
    /// How many times as many users come now.
    pub rise: f64,
    noise: f64,
}

impl Traffic {
    /// The traffic of these loads.
    #[must_use]
    pub fn new(loads: &[LoadSpec]) -> Self {
        let flows = loads.iter().map(|spec| Flow {
            spec: spec.clone(),
            fresh: Err(Miss::NoRoute),
            copies: Vec::new(),
            fresh_of: None,
            held: BTreeMap::new(),
            open: false,
            below_since: 0,
            received: Received::default(),
        });
        Self {
            flows: flows.collect(),
            plane: Arc::default(),
            plane_number: 0,
            coming: VecDeque::new(),
            newest: Arc::default(),
            last_effect: 0,
            model: LatencyModel::default(),
            held_share: 0.1,
            held_seconds: 60.0,
            rise: 1.0,
            noise: 0.0,
        }
    }

    /// A new plane takes effect in `lag` milliseconds, never before an older one; returns when, unless it says what
    /// the newest said.
    pub fn announce(&mut self, plane: Plane, now: Millis, lag: Millis) -> Option<Millis> {
        if *self.newest == plane {
            return None;
        }
        self.newest = Arc::new(plane);
        self.coming.push_back(Arc::clone(&self.newest));
        self.last_effect = self.last_effect.max(now + lag);
        Some(self.last_effect)
    }

    /// The plane that was announced last.
    #[must_use]
    pub fn newest(&self) -> &Plane {
        &self.newest
    }

    /// The next announced plane takes effect.
    pub fn take_effect(&mut self) {
        if let Some(plane) = self.coming.pop_front() {
            self.plane = plane;
            self.plane_number += 1;
        }
    }

    /// The plane that is in effect.
    #[must_use]
    pub fn plane(&self) -> &Plane {
        &self.plane
    }

    /// What is sent where, as the routers were told last; nothing of components that were never ready.
    #[must_use]
    pub fn burdens(&self) -> Vec<Burden> {
        let open = self.flows.iter().filter(|flow| flow.open && flow.spec.rps > 0.0);
        let burdens = open.map(|flow| {
            let routers = &self.newest;
            let address = flow.address(routers);
            let (sum, weights) = if let Some((host, path)) = &address {
                (routers.weight_sum(host, path), routers.weights(host, path))
            } else {
                let service = routers.service_of(&flow.spec.component);
                (100.0, service.into_iter().map(|service| (service, 100.0)).collect())
            };
            Burden {
                component: flow.spec.component.clone(),
                rps: flow.spec.rps,
                pod_capacity: flow.spec.pod_capacity,
                sum,
                weights,
            }
        });
        burdens.collect()
    }

    /// What each component received.
    pub fn received(&self) -> impl Iterator<Item = (&str, &Received)> {
        self.flows.iter().map(|flow| (flow.spec.component.as_str(), &flow.received))
    }

    /// Replaces the loads; what was received stays.
    pub fn set_rate(&mut self, component: &str, rps: f64) {
        for flow in self.flows.iter_mut().filter(|flow| flow.spec.component == component) {
            flow.spec.rps = rps;
        }
    }

    /// Capacity of one pod of a component, in requests per second.
    #[must_use]
    pub fn pod_capacity(&self, component: &str) -> f64 {
        let flow = self.flows.iter().find(|flow| flow.spec.component == component);
        flow.map_or(20.0, |flow| flow.spec.pod_capacity)
    }

    /// One latency of a pod now, in seconds.
    pub fn one_latency(&mut self, rate: f64, capacity: f64, added: f64, random: &mut Random) -> f64 {
        self.model.one(factor_at(rate / capacity.max(0.1)), added, random)
    }

    /// One second of traffic. `hour` is the hour of the day.
    pub fn second(
        &mut self,
        kubelet: &mut Kubelet,
        hour: f64,
        random: &mut Random,
        answers: &Answers<'_>,
        now: Millis,
    ) {
        for index in kubelet.present().collect::<Vec<_>>() {
            let run = &mut kubelet.runs[index];
            run.load += (run.rate - run.load) / LOAD_SECONDS;
            run.rate = 0.0;
        }
        self.noise = self.noise * 0.98 + 0.01 * random.normal();
        // a gentle day: least at four in the morning
        let curve = 1.0 - 0.15 * ((hour - 4.0) / 24.0 * std::f64::consts::TAU).cos();
        let level = (curve + self.noise).max(0.2);
        for place in 0..self.flows.len() {
            self.refresh(place);
            let rps = self.flows[place].spec.rps * level * self.rise;
            let requests = random.poisson(rps);
            let shares = self.shares_now(place, kubelet);
            self.flow(place, requests, rps, &shares, kubelet, random, answers, now);
        }
    }

    /// Where new connections of a flow go, computed once per plane.
    fn refresh(&mut self, place: usize) {
        let flow = &mut self.flows[place];
        if flow.fresh_of == Some(self.plane_number) {
            return;
        }
        flow.fresh_of = Some(self.plane_number);
        let routers = &self.plane;
        let address = flow.address(routers);
        flow.copies = address.as_ref().map_or_else(Vec::new, |(host, path)| routers.copies(host, path));
        flow.fresh = match address {
            Some((host, path)) => routers.shares(&host, &path),
            None => match routers.service_of(&flow.spec.component) {
                None => Err(Miss::NoRoute),
                Some(service) => match routers.endpoints_of(&service) {
                    [] => Err(Miss::NoEndpoint),
                    pods => Ok(pods.iter().map(|pod| (*pod, 1.0 / pods.len() as f64)).collect()),
                },
            },
        };
        flow.open |= flow.fresh.is_ok();
    }

    /// The shares of this second: fresh connections, and the long-lived ones whose process still answers.
    fn shares_now(&mut self, place: usize, kubelet: &Kubelet) -> Vec<(PodIndex, f64)> {
        let (held_share, leave) = (self.held_share, 1.0 / self.held_seconds.max(1.0));
        let flow = &mut self.flows[place];
        flow.held.retain(|pod, share| kubelet.runs[*pod].answers() && *share > 1e-4);
        let held_total: f64 = flow.held.values().sum();
        let fresh: &[(PodIndex, f64)] = flow.fresh.as_deref().unwrap_or(&[]);
        let mut shares: BTreeMap<PodIndex, f64> = BTreeMap::new();
        let on_held = held_share * held_total.min(1.0);
        for (pod, share) in fresh {
            *shares.entry(*pod).or_default() += share * (1.0 - on_held);
        }
        for (pod, share) in &flow.held {
            *shares.entry(*pod).or_default() += held_share * share;
        }
        for share in flow.held.values_mut() {
            *share *= 1.0 - leave;
        }
        let room = 1.0 - flow.held.values().sum::<f64>();
        for (pod, share) in fresh {
            *flow.held.entry(*pod).or_default() += room * share;
        }
        shares.into_iter().collect()
    }

    #[allow(clippy::too_many_arguments)] // the parts of one second of one load; a struct would name them once more
    fn flow(
        &mut self,
        place: usize,
        requests: u64,
        rps: f64,
        shares: &[(PodIndex, f64)],
        kubelet: &mut Kubelet,
        random: &mut Random,
        answers: &Answers<'_>,
        now: Millis,
    ) {
        let flow = &mut self.flows[place];
        if !flow.open || rps <= 0.0 {
            return;
        }
        let live: Vec<(PodIndex, f64)> =
            shares.iter().copied().filter(|(pod, _)| kubelet.runs[*pod].answers()).collect();
        let routed: f64 = shares.iter().map(|(_, share)| share).sum();
        let capacity = flow.spec.pod_capacity;
        flow.note_capacity(live.len() as f64 * capacity, rps, live.is_empty());
        flow.received.all.requests += requests;
        // a router tries another endpoint when one does not accept the connection
        let lost = if live.is_empty() { requests } else { random.binomial(requests, 1.0 - routed.min(1.0)) };
        flow.received.unrouted += lost;
        flow.received.all.failed += lost;
        let nobody = (answers.nobody)(&flow.spec.component);
        flow.received.blamed.add(nobody, lost);
        let (mut left, mut mass) = (requests - lost, live.iter().map(|(_, share)| share).sum::<f64>());
        for (pod, share) in live {
            let count = if mass - share <= 1e-9 { left } else { random.binomial(left, share / mass) };
            left -= count;
            mass -= share;
            let run = &mut kubelet.runs[pod];
            run.rate += count as f64;
            if count == 0 {
                continue;
            }
            let (failed, in_vain, own) =
                self.model.answer(run, count, capacity, random, answers.behaviour, now);
            let culprit = if own > USUAL_ERRORS { (answers.culprit)(run) } else { Blame::World };
            let flow = &mut flow.received;
            flow.all.failed += failed;
            // a burst is nobody's doing while what comes in the mean can be carried
            let overloaded = rps * share > capacity;
            flow.blamed.add(if overloaded { nobody } else { Blame::World }, in_vain);
            flow.blamed.add(culprit, failed - in_vain);
            let revision = match flow.by_revision.get_mut(&run.revision) {
                Some(tally) => tally,
                None => flow.by_revision.entry(run.revision.clone()).or_default(),
            };
            revision.requests += count;
            revision.failed += failed;
        }
        for (pod, share) in flow.copies.clone() {
            let run = &mut kubelet.runs[pod];
            let count = if run.answers() { random.binomial(requests, share.min(1.0)) } else { 0 };
            run.rate += count as f64;
            if count > 0 {
                let _ = self.model.answer(run, count, capacity, random, answers.behaviour, now);
            }
        }
    }
}

impl LatencyModel {
    /// A process answers `count` requests and counts them; returns how many failed, how many of these because it had too
    /// much to do, and the share that fails by its own doing.
    fn answer(
        &mut self,
        run: &mut PodRun,
        count: u64,
        capacity: f64,
        random: &mut Random,
        behaviour: &dyn Fn(&PodRun) -> Option<Behaviour>,
        now: Millis,
    ) -> (u64, u64, f64) {
        let changed = behaviour(run);
        let effect = changed.as_ref().unwrap_or(&run.own);
        let on = now >= run.started_at + (effect.late * 1000.0) as Millis;
        let use_ = run.rate / capacity.max(0.1);
        let (own, late) = (if on { effect.error_share } else { 0.0 }.max(USUAL_ERRORS), timeouts_at(use_));
        let failed = random.binomial(count, (own + late).min(1.0));
        let in_vain = (failed as f64 * late / (own + late)).round() as u64;
        let added = if on { effect.added_latency } else { 0.0 };
        let mut counted = Counters { ok: count - failed, errors: failed, ..Counters::default() };
        self.draw(count, factor_at(use_), added, random, &mut counted);
        run.counters.add(&counted);
        run.total.add(&counted);
        (failed, in_vain, own)
    }
}

impl Flow {
    /// The host and path that users ask for, if they come through a router.
    fn address(&self, routers: &Plane) -> Option<(String, String)> {
        if self.spec.host.is_empty() {
            return routers.address_of(&self.spec.component);
        }
        Some((self.spec.host.clone(), self.spec.path.clone()))
    }

    fn note_capacity(&mut self, capacity: f64, rps: f64, down: bool) {
        self.received.seconds_down += u64::from(down);
        if capacity < rps {
            self.below_since += 1;
            self.received.seconds_below_capacity += 1;
            self.received.longest_below_capacity = self.received.longest_below_capacity.max(self.below_since);
        } else {
            self.below_since = 0;
        }
    }
}
