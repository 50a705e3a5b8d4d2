//! The words of the field as types: environment, object, effect, step, release, verdict, event.
//!
//! No IO and no knowledge of the configuration's YAML. What is stored (steps, releases, events) derives
//! serde here, since that format is ours and versioned.

pub mod absence;
pub mod calendar;
pub mod counters;
pub mod crd_schema;
pub mod definitions;
pub mod diagnostic;
pub mod effect;
pub mod environment;
pub mod error;
pub mod event;
pub mod evidence;
pub mod field_path;
pub mod gate;
pub mod gitops;
pub mod guard;
pub mod ids;
pub mod intent;
pub mod kube_schema;
pub mod metric_store;
pub mod object;
pub mod observed;
pub mod openapi;
pub mod quantity;
pub mod readiness;
pub mod release;
pub mod routing;
pub mod secret;
pub mod step;
pub mod units;

pub use diagnostic::{Diagnostic, Diagnostics};
pub use effect::Effect;
pub use environment::Environment;
pub use error::{Code, Failure};
pub use ids::{ComponentId, Revision, RunId, StepId, TargetId};
pub use object::{Object, ObjectRef};
