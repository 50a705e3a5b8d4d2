//! Whose pods are whose: those of two workloads, or of one `StatefulSet` by their templates.
//!
//! Pods of a `StatefulSet` keep their names when they get a new template: what counts is a life of a pod, which begins anew
//! with it.

use crate::domain::counters::PodSample;
use crate::domain::effect::Arm;
use crate::domain::object::ObjectRef;
use crate::rollout::sequential::Arm as Side;
use crate::run::hold;
use crate::run::perform::Stand;

/// A pod of an arm that serves.
pub(super) struct Serving {
    pub name: String,
    /// What its counters are known by: its name, and for one of a `StatefulSet`'s new template that, too.
    pub life: String,
    /// When it was made, seconds since the epoch.
    pub created: Option<f64>,
}

/// The same side, as holds name it.
pub(super) fn sort(side: Side) -> hold::Side {
    match side {
        Side::Canary => hold::Side::New,
        Side::Control => hold::Side::Stable,
    }
}

fn life(workload: &ObjectRef, side: Side, pod: &str) -> String {
    if workload.kind == "StatefulSet" && side == Side::Canary {
        format!("{pod} (new)")
    } else {
        pod.to_owned()
    }
}

impl Stand<'_> {
    /// The pods of one side that serve.
    pub(super) fn serving(&self, arm: &Arm, side: Side) -> Vec<Serving> {
        let workload = if side == Side::Canary { Some(&arm.new) } else { arm.stable.as_ref() };
        let (Some(workload), Ok(cluster)) = (workload, self.cluster()) else { return Vec::new() };
        let snapshots = cluster.follow(&workload.namespace);
        let snapshot = snapshots.borrow();
        let newest = side == Side::Canary || !arm.is_one_workload();
        let names = snapshot.pods_by_template(workload, newest).into_iter();
        let pods = names.filter_map(|name| Some((name, snapshot.pods.get(name)?)));
        pods.filter(|(_, pod)| pod.ready && !pod.terminating)
            .map(|(name, pod)| Serving {
                name: name.to_owned(),
                life: life(workload, side, name),
                created: pod.created.map(|created| created.as_millisecond() as f64 / 1000.0),
            })
            .collect()
    }

    /// Samples of a store under the names of the lives that they are of: under the name of a pod it has those of the lives
    /// before, too. `now` is the store's time, which need not be ours: what counts is how old a pod is.
    pub(super) fn lives(&self, arm: &Arm, side: Side, samples: Vec<PodSample>, now: f64) -> Vec<PodSample> {
        if arm.new.kind != "StatefulSet" {
            return samples;
        }
        let mut lives = Vec::new();
        for pod in self.serving(arm, side) {
            let age = pod.created.map_or(f64::INFINITY, |created| self.now() - created);
            let own = samples.iter().filter(|sample| sample.pod == pod.name && sample.at >= now - age);
            let own = last_life(own.cloned().collect());
            lives.extend(own.into_iter().map(|sample| PodSample { pod: pod.life.clone(), ..sample }));
        }
        lives
    }
}

/// What comes after the last fall of the counters.
fn last_life(mut samples: Vec<PodSample>) -> Vec<PodSample> {
    samples.sort_by(|one, other| one.at.total_cmp(&other.at));
    let fell = samples.windows(2).rposition(|pair| pair[1].requests < pair[0].requests);
    samples.split_off(fell.map_or(0, |place| place + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_begins_where_the_counters_fall() {
        let sample = |at: f64, requests: f64| PodSample {
            pod: "api-4".to_owned(),
            at,
            requests,
            errors: 0.0,
            buckets: Vec::new(),
        };
        let times = |samples: &[(f64, f64)]| {
            let samples = samples.iter().rev().map(|(at, requests)| sample(*at, *requests)).collect();
            last_life(samples).iter().map(|sample| sample.at).collect::<Vec<_>>()
        };
        assert_eq!(times(&[(1.0, 50.0), (2.0, 60.0), (3.0, 4.0), (4.0, 9.0)]), [3.0, 4.0]);
        assert_eq!(times(&[(1.0, 50.0), (2.0, 60.0)]), [1.0, 2.0]);
        assert_eq!(times(&[]), Vec::<f64>::new());
    }
}
