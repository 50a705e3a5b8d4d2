//! Checks of rendered objects: against their kinds' schemas, the cluster's version, each other, and the policies.
//!
//! Pure and fast: what is checked here needs no cluster.

mod fields;
mod hooks;
mod pods;
mod policies;
mod references;
mod selectors;
mod sizes;
mod versions;

use super::Document;
use super::decorate::is_namespaced;
use crate::config::codes;
use crate::domain::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::domain::environment::{Environment, PolicyLevel};
use crate::domain::object::ObjectRef;
use pods::PodTemplate;
use serde_json::Value;
use std::collections::BTreeMap;

/// All checks of one target's objects.
#[must_use]
pub fn check(environment: &Environment, documents: &[Document]) -> Diagnostics {
    let mut world =
        World { environment, documents, pods: pods::templates(documents), out: Diagnostics::new() };
    world.duplicates();
    world.namespaces();
    fields::check(&mut world);
    versions::check(&mut world);
    selectors::check(&mut world);
    references::check(&mut world);
    hooks::check(&mut world);
    sizes::check(&mut world);
    policies::check(&mut world);
    world.out
}

/// What the checks look at.
struct World<'a> {
    environment: &'a Environment,
    documents: &'a [Document],
    pods: Vec<PodTemplate<'a>>,
    out: Diagnostics,
}

impl<'a> World<'a> {
    /// The object of that kind and name in the namespace of another one.
    fn find(&self, beside: &Document, kind: &str, name: &str) -> Option<&'a Document> {
        self.documents.iter().find(|document| {
            document.kind() == kind
                && name_of(document) == name
                && namespace_of(document) == namespace_of(beside)
        })
    }

    fn names(&self, beside: &Document, kind: &str) -> Vec<&'a str> {
        let same = |d: &&Document| d.kind() == kind && namespace_of(d) == namespace_of(beside);
        self.documents.iter().filter(same).map(name_of).collect()
    }

    /// Reports a breach of a policy as loudly as the environment says.
    fn policy(&mut self, policy: &str, diagnostic: Diagnostic) {
        let level = self.environment.policies.get(policy).copied().unwrap_or(PolicyLevel::Warn);
        let severity = match level {
            PolicyLevel::Off => return,
            PolicyLevel::Warn => Severity::Warning,
            PolicyLevel::Error => Severity::Error,
        };
        self.out.push(Diagnostic { severity, ..diagnostic });
    }

    fn duplicates(&mut self) {
        let mut first: BTreeMap<ObjectRef, &Document> = BTreeMap::new();
        for document in self.documents {
            let reference = document.reference();
            match first.get(&reference) {
                None => {
                    first.insert(reference, document);
                }
                Some(other) => {
                    let message = format!("{reference} is there twice");
                    let diagnostic = Diagnostic::error(
                        codes::OBJECT_DUPLICATE,
                        document.place(&["metadata", "name"]),
                        message,
                    )
                    .why("the later of the two would overwrite the earlier")
                    .help("remove one of them, or give it another name")
                    .related(
                        other.place(&["metadata", "name"]),
                        format!("also here, for `{}`", other.component),
                    );
                    self.out.push(diagnostic);
                }
            }
        }
    }

    fn namespaces(&mut self) {
        let own = self.environment.namespace.as_str();
        for document in self.documents.iter().filter(|d| is_namespaced(d.kind())) {
            let namespace = namespace_of(document);
            if namespace != own {
                let message = format!("{} is in namespace `{namespace}`, not `{own}`", document.reference());
                let diagnostic = document
                    .error(codes::OBJECT_NAMESPACE, &["metadata", "namespace"], message)
                    .why("lock, diff and rollback cover the application's namespace")
                    .help("remove `namespace`: it is added by itself");
                self.out.push(Diagnostic { severity: Severity::Warning, ..diagnostic });
            }
        }
    }
}

fn name_of(document: &Document) -> &str {
    text(&document.value, "/metadata/name")
}

fn namespace_of(document: &Document) -> &str {
    text(&document.value, "/metadata/namespace")
}

/// The text at a pointer, or nothing.
fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The items at a pointer, or none.
fn items<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
