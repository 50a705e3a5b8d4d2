//! The size of a workload that no autoscaler scales: said once.

use super::super::Document;
use super::{World, name_of, text};
use crate::config::codes;

pub(super) fn check(world: &mut World<'_>) {
    for component in world.environment.components.iter().filter(|component| component.replicas.given) {
        let id = component.id.as_str();
        let own = |document: &&Document| {
            document.component == component.id && matches!(document.kind(), "Deployment" | "StatefulSet")
        };
        let workloads: Vec<&Document> = world.documents.iter().filter(own).collect();
        // Beside others, the one that has the component's name runs it.
        let workload = match workloads.as_slice() {
            [only] => Some(*only),
            several => several.iter().copied().find(|document| name_of(document) == id),
        };
        let Some(workload) = workload else { continue };
        let said = workload.value.pointer("/spec/replicas").and_then(serde_json::Value::as_u64);
        let wanted = component.replicas.min;
        let Some(said) = said.filter(|said| *said != u64::from(wanted) && !is_scaled(world, workload)) else {
            continue;
        };
        let message = format!(
            "{} says `replicas: {said}`, the environment `components.{id}.replicas` {wanted}",
            workload.reference()
        );
        let diagnostic = workload
            .error(codes::OBJECT_SIZE, &["spec", "replicas"], message)
            .why("no autoscaler decides, and a release brings the component to one size")
            .help(format!(
                "write `replicas: {{{{ replicas.min }}}}`, or take `replicas` out of the manifest or out of `components.{id}`"
            ));
        world.out.push(diagnostic);
    }
}

/// Whether the release holds an autoscaler of the workload.
fn is_scaled(world: &World<'_>, workload: &Document) -> bool {
    world.documents.iter().any(|scaler| {
        let target = |key: &str| text(&scaler.value, &format!("/spec/scaleTargetRef/{key}")).to_owned();
        // KEDA takes a Deployment where no kind stands.
        let kind =
            Some(target("kind")).filter(|kind| !kind.is_empty()).unwrap_or_else(|| "Deployment".to_owned());
        matches!(scaler.kind(), "HorizontalPodAutoscaler" | "ScaledObject")
            && (kind.as_str(), target("name").as_str()) == (workload.kind(), name_of(workload))
    })
}
