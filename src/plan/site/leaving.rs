//! Components that the release before has and this one does not: their revisions' pods go at the end, and what stays of
//! them is kept for a rollback, as it is of components that go on.

use super::Site;
use super::turns::FOLLOWS_WITHIN;
use super::weights::waiting;
use crate::domain::effect::{Effect, Size};
use crate::domain::ids::ComponentId;
use crate::domain::object::{Object, ObjectRef};
use crate::domain::step::{Lane, Step, Undo};
use crate::domain::units::human;
use crate::plan::build::is_live;
use crate::plan::{Action, Change, FieldChange};
use crate::rollout::autoscaler;
use serde_json::json;

impl Site<'_> {
    /// The workloads of a revision that nothing of this release replaces and that have pods. What has no revision is
    /// deleted, or kept on purpose.
    fn leaving(&self) -> Vec<(ComponentId, ObjectRef)> {
        let Some(previous) = self.input.previous() else { return Vec::new() };
        let goes = |id: &ComponentId, workload: &ObjectRef| {
            !self.input.named.workloads.contains_key(id)
                && !self.references.contains(workload)
                && !self.doomed.contains(workload)
                && self.input.live.contains_key(workload)
                && self.live_size(workload) > 0
        };
        let revised = previous.workloads.iter().filter(|(_, serving)| serving.revision.is_some());
        revised
            .filter(|(id, serving)| goes(id, &serving.workload))
            .map(|(id, serving)| (id.clone(), serving.workload.clone()))
            .collect()
    }

    /// What the plan says of them.
    pub(super) fn leaving_changes(&self) -> Vec<Change> {
        let change = |(id, workload): (ComponentId, ObjectRef)| {
            let size = json!(self.live_size(&workload));
            let field =
                FieldChange { path: "spec.replicas".to_owned(), from: Some(size), to: Some(json!(0)) };
            let note = Some(format!("no component {id} any more; kept for a rollback"));
            let (action, fields) = (Action::Update, vec![field]);
            let (component, object) = (Some(id), workload);
            Change { object, component, action, fields, contests: Vec::new(), replaced: None, note }
        };
        self.leaving().into_iter().map(change).collect()
    }

    /// Autoscalers first, so that none brings pods back; then, when the routers have had their time, the pods, and what no
    /// release needs of the component. The way back is the reverse.
    pub(super) fn components_leave(&mut self) {
        for (id, workload) in self.leaving() {
            let (scalers, rest) = self.left_of(&id, &workload);
            let mut steps = Vec::new();
            if !scalers.is_empty() {
                steps.push(self.remove_step(&id, &scalers));
            }
            let led = rest.iter().any(|object| object.kind == "Service");
            if led && is_live(self) {
                let title = format!("give the routers {} to follow (not counted)", human(FOLLOWS_WITHIN));
                let hold = self.hold_step(FOLLOWS_WITHIN, Vec::new(), false);
                steps.push(self.step(Some(&id), title, hold.effect, waiting()));
            }
            steps.push(self.empty_step(&id, &workload));
            if !rest.is_empty() {
                steps.push(self.remove_step(&id, &rest));
            }
            self.left.extend(scalers.into_iter().chain(rest));
            self.finish.extend(steps);
        }
    }

    /// What no release needs of a component: its autoscalers, and the rest. A Job that is made again runs again, so that
    /// Jobs are not among what comes back.
    fn left_of(&self, id: &ComponentId, workload: &ObjectRef) -> (Vec<ObjectRef>, Vec<ObjectRef>) {
        let known = self.input.previous().into_iter().flat_map(|release| &release.objects);
        let own: Vec<ObjectRef> = known
            .filter(|object| object.component.as_ref() == Some(id) && object.kind() != "Job")
            .map(Object::reference)
            .filter(|object| self.doomed.contains(object))
            .collect();
        own.into_iter().partition(|object| {
            let live = self.input.live.get(object).filter(|live| autoscaler::is_one(live));
            live.is_some_and(|live| {
                autoscaler::target(live) == (workload.kind.as_str(), workload.name.as_str())
            })
        })
    }

    fn remove_step(&mut self, id: &ComponentId, objects: &[ObjectRef]) -> Step {
        let title = match objects {
            [one] => format!("delete {one}, which no release needs"),
            all => format!("delete {} objects of {id} that no release needs", all.len()),
        };
        let before = objects.iter().filter_map(|object| self.before(object)).collect();
        let effects = vec![Effect::Apply { objects: before }];
        let undo = Undo::Effects { lane: Lane::Traffic, effects };
        self.step(Some(id), title, Effect::Delete { objects: objects.to_vec() }, undo)
    }

    fn empty_step(&self, id: &ComponentId, workload: &ObjectRef) -> Step {
        let (floor, timeout) = (self.live_size(workload), self.inputs.env.limits.ready);
        // Never smaller than it is: an autoscaler may have made it larger since the plan.
        let to = Size::PartOf { workload: workload.clone(), percent: 100, floor, demand: None, least: 0 };
        let back = vec![
            Effect::Scale { workload: workload.clone(), to },
            Effect::WaitReady { workloads: vec![workload.clone()], timeout },
        ];
        let title = format!("scale {} to 0, kept for a rollback", workload.name);
        let effect = Effect::Scale { workload: workload.clone(), to: Size::Exactly(0) };
        self.step(Some(id), title, effect, Undo::Effects { lane: Lane::Traffic, effects: back })
    }
}
