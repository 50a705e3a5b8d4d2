//! Copies of requests before the first weight: a step of weight 0.

use super::{Split, names, weighed};
use crate::domain::effect::Effect;
use crate::domain::environment::{CanaryStep, Component, Mirror};
use crate::domain::object::Object;
use crate::domain::release::ServingWorkload;
use crate::domain::step::{Lane, Step, Undo};
use crate::plan::site::Site;
use crate::rollout::router;

impl Site<'_> {
    /// The route at weight 0, with copies of requests for the new revision.
    pub(super) fn mirror_steps(
        &mut self,
        component: &Component,
        serving: &ServingWorkload,
        split: &Split,
        mirror: Mirror,
    ) -> Vec<Step> {
        let percent = mirror.percent;
        self.warnings.push(format!(
            "{}: {percent} % of the requests to {} are executed twice before its first weight (`mirror`): what they write or send is written and sent twice",
            self.target.id, component.id
        ));
        let routes = weighed(split, 0).into_iter().map(|route| {
            // What cannot carry copies was refused.
            let value = router::mirror(&split.router, &route.value, &split.services, percent);
            Object { value: value.unwrap_or(route.value), ..route }
        });
        let routes: Vec<Object> = routes.collect();
        let shown = names(&routes.iter().map(Object::reference).collect::<Vec<_>>());
        let title = format!("copy {percent} % of the requests to {} by {shown}", serving.workload.name);
        let objects = routes.into_iter().map(|route| self.put(route)).collect();
        let canaries = split.canaries.clone();
        let effect = Effect::Weigh { objects, percent: 0, canaries, assumed: None };
        let undo = Undo::Effects { lane: Lane::Traffic, effects: vec![self.weigh(split, 0)] };
        let mut steps = vec![self.step(Some(&component.id), title, effect, undo)];
        steps.extend(self.accepted(component, split));
        steps
    }
}

/// The steps with one of weight 0 before them for copies of requests. The pods that answered those stay.
pub(super) fn with_mirror(weights: &[CanaryStep], mirror: Option<Mirror>) -> Vec<CanaryStep> {
    let Some(mirror) = mirror else { return weights.to_vec() };
    let scale = |step: &CanaryStep| Some(step.scale.unwrap_or(step.weight).max(mirror.percent));
    let copies = CanaryStep { weight: 0, hold: mirror.hold, scale: Some(mirror.percent), approve: None };
    let weights = weights.iter().map(|step| CanaryStep { scale: scale(step), ..step.clone() });
    std::iter::once(copies).chain(weights).collect()
}
