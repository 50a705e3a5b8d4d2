//! Smoke tests outside a run.

use super::compare::Comparisons;
use super::control::Control;
use super::lease::Leases;
use super::perform::Stand;
use super::world::{Report, Teller, World};
use crate::domain::effect::SmokeVia;
use crate::domain::environment::Environment;
use crate::domain::event::{Event, Kind};
use crate::domain::ids::{ComponentId, RunId, StepId, TargetId};
use crate::domain::object::{Object, ObjectRef};
use crate::plan::Plan;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// One test's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tested {
    /// Where.
    pub target: TargetId,
    /// Which.
    pub test: String,
    /// Whether it passed.
    pub passed: bool,
    /// What was answered.
    pub detail: String,
}

struct Collect(Mutex<Vec<Tested>>);

impl Report for Collect {
    fn event(&self, event: &Event) {
        if let Kind::SmokeTested { test, target, passed, detail } = &event.kind {
            let tested = Tested {
                target: target.clone(),
                test: test.clone(),
                passed: *passed,
                detail: detail.clone(),
            };
            self.0.lock().expect("no panic while held").push(tested);
        }
    }
}

/// Runs every smoke test on every target, the public way.
pub async fn run(
    world: &World,
    env: &Environment,
    rendered: &BTreeMap<TargetId, Vec<Object>>,
) -> Vec<Tested> {
    let collect = Collect(Mutex::new(Vec::new()));
    let teller = Teller { report: &collect, clock: world.clock.as_ref() };
    let plan = Plan::for_asking(env, RunId::new("smoke"), world.clock.now());
    let leases = Leases::none();
    let control = Control::new(0, Vec::new());
    let step = StepId::new("smoke");
    for target in &env.targets {
        let services = rendered.get(&target.id).map(|objects| services(objects)).unwrap_or_default();
        let stand = Stand {
            plan: &plan,
            world,
            leases: &leases,
            control: &control,
            teller: &teller,
            comparisons: &Comparisons::new(&plan, 1),
            target: &target.id,
            step: &step,
            component: None,
            back: false,
        };
        let _ = stand.smoke(&env.smoke, &SmokeVia::Public { services }).await;
    }
    collect.0.into_inner().expect("no panic while held")
}

fn services(objects: &[Object]) -> Vec<(ComponentId, ObjectRef)> {
    objects
        .iter()
        .filter(|object| object.kind() == "Service")
        .filter_map(|object| Some((object.component.clone()?, object.reference())))
        .collect()
}
