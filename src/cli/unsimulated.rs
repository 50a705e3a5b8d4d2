//! Gates that a rehearsal cannot answer: the simulated world counts requests, and nothing else.

use crate::cli::session::Session;
use crate::domain::environment::Environment;
use crate::domain::gate::{Metric, NoData};

/// Says of each such gate that it has no data here, and lets it hold nothing up: a rehearsal that waits for a store which it
/// does not have would fail every release. The rest of the plan is as it will be.
pub(super) fn spare(session: &Session, env: &mut Environment) {
    for gate in &mut env.gates {
        let what = match &gate.metric {
            Metric::Query(_) => "PromQL of its own",
            Metric::CloudWatch(_) => "CloudWatch",
            Metric::Http(_) => "a store over HTTP",
            Metric::ErrorRate | Metric::Latency { .. } | Metric::Availability | Metric::AgainstStable(_) => {
                continue;
            }
        };
        gate.no_data = NoData::Pass;
        let name = &gate.name;
        if session.json() {
            let line = serde_json::json!({"type": "not_simulated", "gate": name, "asks": what});
            session.print(&format!("{line}\n"));
        } else {
            session.note(&format!(
                "gate {name} asks {what}, which is not simulated: it has no data here and holds nothing up\n"
            ));
        }
    }
}
