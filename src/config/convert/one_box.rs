//! One pod in one place, before the first weight: only where canaries are watched under users' requests.

use super::Cx;
use crate::config::codes;
use crate::config::model::EnvironmentFile;
use crate::domain::environment::{Component, OneBox, Strategy, Target, TrafficClass};

/// Largest share of one pod, percent.
const MAX_SHARE: f64 = 10.0;

impl Cx<'_> {
    pub(super) fn one_box(
        &mut self,
        file: &EnvironmentFile,
        components: &[Component],
        targets: &[Target],
    ) -> Option<OneBox> {
        let one_box = file.one_box.as_ref()?;
        let share = one_box.max_share.map_or(MAX_SHARE, |share| share.0);
        if !(1.0..=100.0).contains(&share) || share.fract() != 0.0 {
            let diagnostic = self
                .error(codes::OUT_OF_RANGE, &["one_box", "max_share"], format!("a share of {share} %"))
                .help("write a whole share from 1% to 100%");
            self.out.push(diagnostic);
        }
        if one_box.bake.is_none() {
            let path = ["one_box", "bake"];
            self.missing(&path, "`one_box` does not say how long its pod bakes", "add `bake: 1h`");
        }
        self.box_has_a_place(components, targets);
        Some(OneBox { bake: one_box.bake?.0, max_share: share.clamp(1.0, 100.0) as u8 })
    }

    /// What a base file lacks is no mistake.
    fn box_has_a_place(&mut self, components: &[Component], targets: &[Target]) {
        let canaries = components.iter().filter_map(|component| match &component.strategy {
            Strategy::Canary(canary) => Some((component, canary)),
            Strategy::Rolling | Strategy::Recreate | Strategy::BlueGreen(_) => None,
        });
        let mirrored = canaries.clone().find(|(_, canary)| canary.mirror.is_some());
        let mistake = if !components.is_empty() && canaries.count() == 0 {
            Some((
                "`one_box` without a canary".to_owned(),
                "one pod is a first step of a canary; no component has that strategy",
                "remove it, or write `strategy: canary` for a component",
            ))
        } else if !targets.is_empty() && !targets.iter().any(|target| target.traffic == TrafficClass::Live) {
            Some((
                "`one_box` without a live target".to_owned(),
                "one pod tells something only where users' requests arrive",
                "remove it, or write `traffic: live` for a target",
            ))
        } else {
            mirrored.map(|(component, _)| {
                (
                    format!("`one_box` with the `mirror` of `{}`", component.id),
                    "copies of requests need as many pods as their share, and come before any request of a user",
                    "keep one of the two",
                )
            })
        };
        if let Some((message, why, help)) = mistake {
            let diagnostic = self.error(codes::CONFLICT, &["one_box"], message).why(why).help(help);
            self.out.push(diagnostic);
        }
    }
}
