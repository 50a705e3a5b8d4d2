//! What a template can read.

use crate::config::values::merge_values;
use crate::domain::environment::{Component, Environment, Target, TrafficClass};
use serde_json::{Value, json};

/// The variables of a component's templates on a target.
pub fn context(environment: &Environment, component: &Component, target: &Target, version: &str) -> Value {
    let mut values = environment.values.clone();
    merge_values(&mut values, &component.values);
    merge_values(&mut values, &target.values);
    let replicas = &component.replicas;
    json!({
        "application": environment.application,
        "environment": environment.name,
        "component": component.id.as_str(),
        "version": version,
        "image": component.image_for(version),
        "replicas": {
            "min": replicas.min,
            "max": replicas.max,
            "cpu": replicas.cpu_percent,
            "memory": replicas.memory_percent,
        },
        "target": {
            "name": target.id.as_str(),
            "cloud": target.cloud,
            "region": target.region,
            "traffic": match target.traffic {
                TrafficClass::Live => "live",
                TrafficClass::None => "none",
            },
        },
        "namespace": environment.namespace,
        "values": values,
    })
}
