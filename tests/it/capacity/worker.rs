//! Workers without traffic: their gates ask for their pods.

use crate::support::{Life, Told, environment, virtually, watched};
use async_trait::async_trait;
use deployctl::domain::ids::TargetId;
use deployctl::ports::metrics::{CountersOf, Measurement, Metrics, MetricsError, Reading};
use deployctl::run::Ending;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Answers a query by the revision of the pods that it asks for.
struct Queues {
    failing: f64,
    asked: Mutex<BTreeSet<String>>,
}

#[async_trait]
impl Metrics for Queues {
    async fn measure(&self, what: &Measurement) -> Result<Reading, MetricsError> {
        self.asked.lock().unwrap().extend(what.owners.iter().cloned());
        let new = what.owners.iter().any(|owner| owner.starts_with("worker-r2-"));
        Ok(Reading { value: Some(if new { self.failing } else { 0.1 }), requests: None })
    }

    async fn samples(
        &self,
        _what: &CountersOf,
    ) -> Result<Vec<deployctl::domain::counters::PodSample>, MetricsError> {
        Ok(Vec::new())
    }

    async fn history(
        &self,
        _what: &CountersOf,
        _until: jiff::Timestamp,
        _step: Duration,
    ) -> Result<Vec<deployctl::domain::counters::PodSample>, MetricsError> {
        Ok(Vec::new())
    }

    fn knows(&self, _target: &TargetId) -> bool {
        true
    }

    async fn reachable(&self, _target: &TargetId) -> Result<(), MetricsError> {
        Ok(())
    }
}

#[test]
fn a_worker_without_traffic_is_a_canary_by_its_pods_and_its_own_gates() {
    for (failing, good) in [(0.2, true), (5.0, false)] {
        let mut env = environment("queue");
        // Requests are asked of components that take some.
        env.bake.requests = 100;
        virtually(env, 41, async |story| {
            let mut story = story.under(story.env.clone());
            let queues = Arc::new(Queues { failing, asked: Mutex::default() });
            story.doors.metrics = queues.clone();
            assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
            let (life, looks) =
                watched(story.deploy("2.0.0", &Told::default()), || story.sizes("east")).await;
            let sized = |r1: u64, r2: u64| {
                let sizes = [("worker-r1".to_owned(), r1), ("worker-r2".to_owned(), r2)];
                looks.contains(&BTreeMap::from(sizes))
            };
            assert!(sized(4, 1), "a quarter: {looks:?}");
            if good {
                assert_eq!(life, Life::Ended(Ending::Deployed));
                assert!(sized(4, 4) && sized(0, 4), "{looks:?}");
            } else {
                let Life::Ended(Ending::RolledBack { cause }) = life else { panic!("{life:?}") };
                assert!(cause.contains("gate failures"), "{cause}");
                assert_eq!(story.sizes("east")["worker-r1"], 4);
            }
            let asked = queues.asked.lock().unwrap();
            assert!(asked.iter().any(|owner| owner.starts_with("worker-r1-")), "stable, too: {asked:?}");
        });
    }
}
