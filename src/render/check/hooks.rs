//! Jobs that run on the way back: what their annotation says, and whether they undo anything.

use super::super::Document;
use super::{World, name_of, namespace_of, text};
use crate::config::codes;
use crate::domain::object::{ANNOTATION_ON, LONGEST_ROLLBACK_JOB, ON_ROLLBACK};

pub(super) fn check(world: &mut World<'_>) {
    for document in world.documents {
        let Some(value) = document.value["metadata"]["annotations"].get(ANNOTATION_ON) else { continue };
        let path = ["metadata", "annotations", ANNOTATION_ON];
        let name = document.reference();
        let diagnostic = if value != ON_ROLLBACK {
            let message =
                format!("{name}: `{ANNOTATION_ON}` is {value}, and it takes nothing but `{ON_ROLLBACK}`");
            document
                .error(codes::OBJECT_HOOK, &path, message)
                .help(format!("write {ANNOTATION_ON}: {ON_ROLLBACK}"))
        } else if !is_job(document) {
            let message = format!("{name} cannot run on the way back: it is no Job");
            document
                .error(codes::OBJECT_HOOK, &path, message)
                .help("take the annotation away, or make it a Job")
        } else if name_of(document).len() > LONGEST_ROLLBACK_JOB {
            let (length, most) = (name_of(document).len(), LONGEST_ROLLBACK_JOB);
            let message = format!("the name of {name} has {length} characters, and may have {most}");
            document
                .error(codes::OBJECT_HOOK, &["metadata", "name"], message)
                .why("the number of the release that is left is added to it, and the name is a label of its pods")
                .help("give it a shorter name")
        } else if !world.documents.iter().any(|other| undoes(document, other)) {
            let message = format!(
                "{name} undoes nothing: no other Job of `{}` runs on the way forward",
                document.component
            );
            document
                .error(codes::OBJECT_HOOK, &path, message)
                .why("it runs on the way back if the Jobs of its component were begun")
                .help("put it among the manifests of the component whose Jobs it undoes")
        } else {
            continue;
        };
        world.out.push(diagnostic);
    }
}

fn is_job(document: &Document) -> bool {
    document.kind() == "Job" && text(&document.value, "/apiVersion").starts_with("batch/")
}

fn undoes(back: &Document, other: &Document) -> bool {
    is_job(other)
        && other.component == back.component
        && namespace_of(other) == namespace_of(back)
        && other.value["metadata"]["annotations"].get(ANNOTATION_ON).is_none()
}
