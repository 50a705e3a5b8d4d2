//! Whether somebody watches the run who outlives its machine.

use super::{Check, Level};
use crate::domain::environment::Environment;
use crate::domain::ids::TargetId;
use crate::domain::units::human;
use crate::plan::Plan;
use crate::run::guard;
use crate::run::world::World;
use std::time::Duration;

pub(super) async fn check(env: &Environment, world: &World, plan: &Plan, target: &TargetId) -> Vec<Check> {
    let Some(wanted) = &env.guard else { return Vec::new() };
    let level = if wanted.required { Level::Fail } else { Level::Warn };
    let fix = format!("start one elsewhere: deployctl guard {}", env.name);
    let check = |level, detail: String| Check::new(level, Some(target), "guard", detail);
    let check = match guard::seen(world, target).await {
        Ok(Some(seen)) => {
            let ago = human(Duration::from_secs(seen.ago.as_secs()));
            let detail = format!("seen {ago} ago on host {}", seen.host);
            if !seen.alive {
                check(level, format!("none is alive: the last was {detail}")).fix(fix)
            } else if seen.host == plan.by.host {
                let detail = format!("{detail}: this machine, and dies with it");
                check(Level::Warn, detail).fix(fix)
            } else {
                check(Level::Pass, detail)
            }
        }
        Ok(None) => check(level, "nobody puts traffic on stable if this machine dies".to_owned()).fix(fix),
        Err(why) => {
            let fix = "allow get on leases.coordination.k8s.io in the state namespace";
            check(level, why).fix(fix)
        }
    };
    vec![check]
}
