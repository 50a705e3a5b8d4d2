//! A store that swallows what it is asked: no answer, no refusal.

use crate::support::{Life, Told, environment, virtually};
use async_trait::async_trait;
use deployctl::domain::counters::PodSample;
use deployctl::domain::ids::TargetId;
use deployctl::ports::metrics::{CountersOf, Measurement, Metrics, MetricsError, Reading};
use deployctl::run::Ending;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Never answers; counts what waits for an answer at once.
#[derive(Default)]
struct Swallows(Mutex<BTreeMap<String, (u32, u32)>>);

struct Waiting<'a>(&'a Swallows, String);

impl Swallows {
    fn ask(&self, key: String) -> Waiting<'_> {
        let mut asked = self.0.lock().unwrap();
        let (now, most) = asked.entry(key.clone()).or_default();
        *now += 1;
        *most = (*most).max(*now);
        Waiting(self, key)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().get_mut(&self.1).unwrap().0 -= 1;
    }
}

#[async_trait]
impl Metrics for Swallows {
    async fn measure(&self, what: &Measurement) -> Result<Reading, MetricsError> {
        let key = format!("{:?} of {} on {}, {:?}", what.metric, what.component, what.target, what.owners);
        let _waiting = self.ask(key);
        std::future::pending().await
    }

    async fn samples(&self, _: &CountersOf) -> Result<Vec<PodSample>, MetricsError> {
        std::future::pending().await
    }

    async fn history(
        &self,
        _: &CountersOf,
        _: jiff::Timestamp,
        _: Duration,
    ) -> Result<Vec<PodSample>, MetricsError> {
        std::future::pending().await
    }

    fn knows(&self, _: &TargetId) -> bool {
        true
    }

    async fn reachable(&self, _: &TargetId) -> Result<(), MetricsError> {
        Ok(())
    }
}

/// Gates that can tell nothing end a hold as their policy says, and no gate is asked twice at once.
#[test]
fn a_store_that_swallows_requests_ends_the_hold_and_is_asked_one_at_a_time() {
    virtually(environment("canary"), 47, async |story| {
        assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
        tokio::time::sleep(Duration::from_mins(2)).await;
        let mut story = story.under(story.env.clone());
        let hole = Arc::new(Swallows::default());
        story.doors.metrics = hole.clone();
        let told = Told::default();
        let life = tokio::time::timeout(Duration::from_hours(2), story.deploy("1.1.0", &told)).await;
        let Ok(Life::Ended(Ending::RolledBack { cause })) = life else { panic!("{life:?}") };
        assert!(cause.contains("still so"), "{cause}");
        let asked = hole.0.lock().unwrap();
        assert!(!asked.is_empty());
        assert!(asked.values().all(|(_, most)| *most == 1), "{asked:#?}");
    });
}
