//! Rollouts of the shop's `api` in the east, looked at from outside while they go on.

use super::{Life, Story, Told, environment};
use deployctl::domain::environment::Environment;
use deployctl::domain::event::Kind;
use deployctl::domain::gate::{Metric, Source};
use deployctl::run::Ending;
use std::time::Duration;

/// What users send from the first release on: half of six pods cannot carry it.
const LOAD: f64 = 80.0;

/// Release r1, and users until the autoscaler has done its work.
pub async fn begin_under_load(story: &Story) {
    story.world.set_rate("east", "api", LOAD);
    assert_eq!(story.deploy("1.0.0", &Told::default()).await, Life::Ended(Ending::Deployed));
    tokio::time::sleep(Duration::from_mins(10)).await;
    story.world.mark_stable();
}

/// Sizes of the first two revisions.
pub fn api_sizes(story: &Story) -> (u64, u64) {
    let sizes = story.sizes("east");
    let size = |name: &str| sizes.get(name).copied().unwrap_or(0);
    (size("api-r1"), size("api-r2"))
}

/// Looks every second at what is there, as long as the other works.
pub async fn watched<T, L: PartialEq>(work: impl Future<Output = T>, look: impl Fn() -> L) -> (T, Vec<L>) {
    let mut looks: Vec<L> = Vec::new();
    let eye = async {
        loop {
            let now = look();
            if looks.last() != Some(&now) {
                looks.push(now);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let value = tokio::select! { biased; value = work => value, () = eye => unreachable!("it never ends") };
    (value, looks)
}

/// What operators were alerted of.
pub fn alerts(told: &Told) -> Vec<String> {
    let events = told.0.lock().unwrap();
    let alerts = events.iter().filter_map(|event| match &event.kind {
        Kind::Alert { message, .. } => Some(message.clone()),
        _ => None,
    });
    alerts.collect()
}

/// The shop with the comparison as its only gate.
pub fn compared_alone(source: Source) -> Environment {
    let mut env = environment("beside");
    env.gates.retain(|gate| gate.name == "beside");
    let Metric::AgainstStable(comparison) = &mut env.gates[0].metric else { panic!("{:?}", env.gates) };
    comparison.source = source;
    env
}
