//! One target while it is planned: how each strategy becomes steps there.
//!
//! The order is the safe one of the field: capacity first, then traffic, and stable shrinks only after the data plane
//! was seen to have moved. Every step knows how it is taken back.

mod autoscalers;
mod beside;
mod blue_green;
mod canary;
mod changes;
mod components;
mod cutover;
mod gitops;
mod hooks;
mod leaving;
mod misfits;
mod one_box;
mod partitions;
mod ready;
mod sizes;
mod steps;
mod turns;
mod until;
mod weights;

use crate::domain::effect::{Approval, Arm, Follow};
use crate::domain::environment::Target;
use crate::domain::ids::ComponentId;
use crate::domain::object::{Object, ObjectRef};
use crate::domain::release::{Release, ServingWorkload};
use crate::domain::step::Step;
use crate::plan::build::{Draft, Inputs, TargetInput, fates, target_plan};
use crate::plan::inventory::Fate;
use crate::plan::order;
use crate::plan::table::Table;
use crate::plan::{FieldChange, TargetPlan};
use crate::plan::{hindsight, lineage};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// Places of stages inside a wave. Weights lie between: `WEIGHT + 10 · percent`, and in these places behind it: pods, smoke
/// tests of the pods, routers, holds.
mod at {
    pub const PAUSE: u32 = 5;
    pub const PREPARE: u32 = 10;
    pub const JOBS: u32 = 12;
    pub const BEHIND_JOBS: u32 = 14;
    pub const FIRST: u32 = 20;
    pub const ONE_BOX: u32 = 60;
    pub const WEIGHT: u32 = 100;
    pub const CHECK_BEHIND: u32 = 1;
    pub const ROUTE_BEHIND: u32 = 2;
    pub const HOLD_BEHIND: u32 = 3;
    pub const RESIZE: u32 = 1990;
    pub const PROMOTE: u32 = 2000;
    pub const CHECK: u32 = 2010;
    pub const PREVIEW: u32 = 2012;
    pub const ALL: u32 = 2015;
    pub const SWITCH: u32 = 2020;
    pub const UNROUTE: u32 = 2025;
    pub const HANDOVER: u32 = 2030;
    pub const DRAIN: u32 = 2040;
    pub const IN_PLACE: u32 = 2050;
    pub const JOBS_BACK: u32 = 2052;
    pub const SETTLE: u32 = 2055;
    pub const SMOKE: u32 = 2060;
    pub const HOLD: u32 = 2070;
    pub const BAKE: u32 = 2080;
}

/// One target while it is planned.
pub(in crate::plan) struct Site<'a> {
    pub inputs: &'a Inputs<'a>,
    pub target: &'a Target,
    pub input: &'a TargetInput,
    wave: usize,
    table: &'a mut Table,
    /// Manifests of the release before.
    manifests: HashMap<ObjectRef, &'a Value>,
    /// Names of the wanted objects, in their order.
    references: Vec<ObjectRef>,
    /// What each wanted object would change in the live one.
    differences: Vec<Vec<FieldChange>>,
    /// What no release needs any more and is deleted.
    doomed: Vec<ObjectRef>,
    levels: BTreeMap<ComponentId, u32>,
    drafts: BTreeMap<u32, Draft>,
    warnings: Vec<String>,
    /// What going back to an older release does not undo.
    not_undone: Vec<String>,
    /// Holds by weight: how long, and whom they watch.
    holds: BTreeMap<u8, Duration>,
    /// Components that begin with one pod here, and their bake.
    boxes: Vec<ComponentId>,
    boxed: Option<one_box::Boxed>,
    /// Weights that a person has to approve.
    approvals: BTreeMap<u8, Approval>,
    arms: Vec<Arm>,
    /// What keeps up with the load from which weight on.
    follow: Vec<(ComponentId, u8, Follow)>,
    /// The hold after blue-green switches.
    green: (Duration, Vec<Arm>),
    /// What serves without ever having been released by us.
    adopted: BTreeMap<ComponentId, ServingWorkload>,
    /// Components that change, with the workload that will serve.
    moved: Vec<(ComponentId, ObjectRef)>,
    /// What is deleted with the side that a component left.
    left: Vec<ObjectRef>,
    /// Releases that are left on the way back to an older one, newest first.
    left_releases: Vec<&'a Release>,
    /// Whether the way leads back to a release whose Jobs have run.
    goes_back: bool,
    /// Components whose Jobs run and have a way back.
    due: BTreeSet<ComponentId>,
    finish: Vec<Step>,
}

/// What comes of it.
pub(in crate::plan) struct Planned {
    pub drafts: BTreeMap<u32, Draft>,
    pub finish: Vec<Step>,
    pub warnings: Vec<String>,
    pub not_undone: Vec<String>,
    pub target: TargetPlan,
}

impl<'a> Site<'a> {
    pub fn new(
        inputs: &'a Inputs<'a>,
        target: &'a Target,
        input: &'a TargetInput,
        wave: usize,
        table: &'a mut Table,
    ) -> Self {
        let manifests = input.previous_manifests();
        let objects = &input.named.objects;
        let references: Vec<ObjectRef> = objects.iter().map(Object::reference).collect();
        let named = objects.iter().zip(&references);
        let mut differences: Vec<Vec<FieldChange>> = named
            .map(|(object, reference)| changes::differences(input, &manifests, object, reference))
            .collect();
        let way = inputs.rollback_of.map(|to| lineage::way(&input.history, to));
        let goes_back = way.as_ref().is_some_and(|way| !way.enters);
        // Of Jobs that have done their work, another release's that stand under their names are no longer needed.
        let spent: BTreeSet<&ObjectRef> = (0..objects.len())
            .filter(|index| goes_back && objects[*index].kind() == "Job" && !differences[*index].is_empty())
            .map(|index| &references[index])
            .collect();
        let (mut doomed, mut warnings) = (Vec::new(), input.named.told.clone());
        for (reference, fate) in fates(inputs, input, |object| !spent.contains(&object.reference())) {
            match fate {
                Fate::Delete => doomed.push(reference),
                Fate::Keep(why) => {
                    warnings.push(format!(
                        "{}: {reference} is in no release any more and is kept: {why}",
                        target.id
                    ));
                }
            }
        }
        let mut not_undone = Vec::new();
        if let Some(to) = inputs.rollback_of {
            let others = inputs.targets.iter().filter(|(id, _)| **id != target.id);
            let others: Vec<&Release> = others.flat_map(|(_, input)| &input.history).collect();
            let elsewhere = |revision| others.iter().copied().find(|other| other.revision == revision);
            let unknown = hindsight::unknown(&target.id, &input.history, to, elsewhere);
            let lines = hindsight::not_undone(&input.history, &input.live, to, &unknown);
            not_undone.extend(lines.into_iter().map(|line| format!("{}: {line}", target.id)));
        }
        for index in 0..objects.len() {
            if spent.contains(&references[index]) {
                differences[index].clear();
            }
        }
        Self {
            not_undone,
            left_releases: way.map(|way| way.left).unwrap_or_default(),
            goes_back,
            due: BTreeSet::new(),
            doomed,
            manifests,
            references,
            differences,
            inputs,
            target,
            input,
            wave,
            table,
            levels: order::levels(&inputs.env.components),
            drafts: BTreeMap::new(),
            warnings,
            holds: BTreeMap::new(),
            boxes: Vec::new(),
            boxed: None,
            approvals: BTreeMap::new(),
            arms: Vec::new(),
            follow: Vec::new(),
            green: (Duration::ZERO, Vec::new()),
            adopted: BTreeMap::new(),
            moved: Vec::new(),
            left: Vec::new(),
            finish: Vec::new(),
        }
    }

    /// All stages of this target in its wave.
    pub fn plan(mut self, last_wave: bool) -> Planned {
        let changes = self.changes();
        self.prepare();
        for component in &self.inputs.env.components {
            if let Some(serving) = self.input.named.workloads.get(&component.id) {
                self.component(component, &serving.clone());
            }
        }
        self.wait_after();
        self.clean_up_jobs();
        self.run_jobs_back();
        self.bake_box();
        self.weighted_holds();
        self.hold_on_green();
        self.smoke_and_bake(last_wave);
        self.components_leave();
        self.clean_up();
        self.keep_git_out();
        let inventory: Vec<usize> =
            (0..self.input.named.objects.len()).map(|i| self.object_index(i)).collect();
        let mut target = target_plan(&self, inventory, changes);
        target.rollback_jobs = self.rollback_jobs();
        target.adopted = self.adoption();
        Planned {
            drafts: self.drafts,
            finish: self.finish,
            warnings: self.warnings,
            not_undone: self.not_undone,
            target,
        }
    }
}
