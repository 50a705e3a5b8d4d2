//! Capacity while two revisions serve: autoscalers, `StatefulSet`s by partition, workers without traffic.
#![allow(clippy::large_futures)] // whole runs are watched here

mod autoscaler;
mod room;
mod stateful_set;
mod worker;

use crate::support::Story;
use deployctl::domain::ids::TargetId;
use serde_json::Value;

impl Story {
    fn cluster(&self, target: &str) -> &dyn deployctl::ports::Cluster {
        self.doors.sites[&TargetId::new(target)].cluster().unwrap().as_ref()
    }
}

fn live(story: &Story, kind: &str, name: &str) -> Value {
    let objects = story.world.snapshot("east");
    let found = objects.iter().find(|o| o["kind"] == kind && o["metadata"]["name"] == name);
    found.map_or(Value::Null, |object| Value::clone(object))
}
