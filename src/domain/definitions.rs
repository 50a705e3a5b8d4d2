//! Who says what the objects of a kind look like: the release itself, the server, or the table in this binary.

use crate::domain::crd_schema;
use crate::domain::kube_schema::{self, Problem, Schema, Type};
use crate::domain::object::ObjectRef;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Names a kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApiKind {
    /// `v1`, `apps/v1`, …
    pub api_version: String,
    /// `Deployment`, …
    pub kind: String,
}

impl ApiKind {
    /// The kind of an object.
    #[must_use]
    pub fn of(object: &Value) -> Self {
        let ObjectRef { api_version, kind, .. } = ObjectRef::of(object);
        Self { api_version, kind }
    }

    /// API group (empty for the core group) and version.
    #[must_use]
    pub fn group_version(&self) -> (&str, &str) {
        self.api_version.split_once('/').unwrap_or(("", &self.api_version))
    }
}

/// Where a definition is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A `CustomResourceDefinition` among the release's own objects.
    Release,
    /// The server's `OpenAPI` document.
    Server,
    /// The table in this binary.
    Builtin,
}

/// What the objects of a kind look like.
#[derive(Clone, Debug)]
pub struct Definition<'d> {
    /// Where the types are.
    pub schema: &'d Schema,
    /// The type of the objects.
    pub root: Type,
    /// Who says so.
    pub source: Source,
}

impl Definition<'_> {
    /// Everything about an object that contradicts it.
    #[must_use]
    pub fn problems(&self, object: &Value) -> Vec<Problem> {
        let mut problems = Vec::new();
        self.schema.check_type(&self.root, object, &mut String::new(), &mut problems);
        problems
    }
}

/// All that is known of kinds. The release's own definition is trusted before the server's, which may be older; the
/// server's before the binary's, which knows one version of Kubernetes. By default the binary's alone.
#[derive(Clone, Debug, Default)]
pub struct Definitions {
    release: HashMap<ApiKind, (Schema, Type)>,
    server: Vec<Arc<Schema>>,
}

impl Definitions {
    /// Reads the definitions among some objects.
    pub fn of<'v>(objects: impl Iterator<Item = &'v Value>) -> Self {
        let mut release = HashMap::new();
        for crd in objects.filter(|object| object["kind"] == "CustomResourceDefinition") {
            let spec = &crd["spec"];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            for version in spec["versions"].as_array().into_iter().flatten() {
                let api_version = format!("{}/{}", text(&spec["group"]), text(&version["name"]));
                let kind = ApiKind { api_version, kind: text(&spec["names"]["kind"]) };
                release.insert(kind, crd_schema::read(&version["schema"]["openAPIV3Schema"]));
            }
        }
        Self { release, server: Vec::new() }
    }

    /// The same with what a server's documents say.
    #[must_use]
    pub fn and_served(mut self, schemas: Vec<Arc<Schema>>) -> Self {
        self.server.extend(schemas);
        self
    }

    /// The kinds of some objects that nobody has defined yet: those that a server can be asked about.
    pub fn unknown<'v>(&self, objects: impl Iterator<Item = &'v Value>) -> BTreeSet<ApiKind> {
        objects.map(ApiKind::of).filter(|kind| self.find(kind).is_none()).collect()
    }

    /// What the objects of a kind look like, if anybody says so.
    #[must_use]
    pub fn find(&self, kind: &ApiKind) -> Option<Definition<'_>> {
        let (group, version) = kind.group_version();
        if let Some((schema, root)) = self.release.get(kind) {
            return Some(Definition { schema, root: root.clone(), source: Source::Release });
        }
        let served = self.server.iter().find_map(|schema| {
            let root = schema.own_root(group, version, &kind.kind)?;
            Some(Definition { schema, root: Type::Struct(root), source: Source::Server })
        });
        served.or_else(|| {
            let schema = kube_schema::builtin();
            let root = schema.root(group, version, &kind.kind)?;
            Some(Definition { schema, root: Type::Struct(root), source: Source::Builtin })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::openapi;
    use serde_json::json;

    fn crd(spec: &Value) -> Value {
        json!({"kind": "CustomResourceDefinition", "spec": {
            "group": "sea.example.com", "names": {"kind": "Ship"},
            "versions": [{"name": "v1", "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}}]}})
    }

    fn ship(spec: &Value) -> Value {
        json!({"apiVersion": "sea.example.com/v1", "kind": "Ship", "metadata": {"name": "a"}, "spec": spec})
    }

    fn wrong(definitions: &Definitions, object: &Value) -> Vec<String> {
        let definition = definitions.find(&ApiKind::of(object)).expect("the kind is defined");
        definition.problems(object).into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn objects_are_held_against_their_definition() {
        let crd = crd(&json!({"type": "object", "required": ["sails"],
            "properties": {"sails": {"type": "integer"}, "rig": {"type": "string", "enum": ["sloop", "ketch"]},
                           "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                           "boat": {"type": "object", "x-kubernetes-embedded-resource": true,
                                    "properties": {"spec": {"type": "string"}}}}}));
        let definitions = Definitions::of([&crd].into_iter());
        for (spec, first) in [
            (json!({"sails": 3, "rig": "ketch", "any": {"a": 1}}), None),
            (json!({"sails": 3, "boat": {"apiVersion": "v1", "kind": "Boat", "spec": "x"}}), None),
            (json!({"sails": "three"}), Some("spec.sails")),
            (json!({"sails": 3, "sail": 1}), Some("spec.sail")),
            (json!({"rig": "sloop"}), Some("spec.sails")),
            (json!({"sails": 3, "rig": "raft"}), Some("spec.rig")),
        ] {
            assert_eq!(wrong(&definitions, &ship(&spec)).first().map(String::as_str), first);
        }
        let other = json!({"apiVersion": "sky.example.com/v1", "kind": "Plane"});
        assert!(definitions.find(&ApiKind::of(&other)).is_none());
    }

    #[test]
    fn the_release_is_trusted_before_the_server_and_the_server_before_the_table() {
        let document_of = |group: &str, kind: &str| {
            let document = json!({"components": {"schemas": {"It": {"type": "object",
                "properties": {"apiVersion": {}, "kind": {}, "metadata": {}, "spec": {"type": "object", "properties": {"oars": {}}}},
                "x-kubernetes-group-version-kind": [{"group": group, "version": "v1", "kind": kind}]}}}});
            Arc::new(openapi::read(document.to_string().as_bytes()).unwrap())
        };
        let schemas = vec![document_of("sea.example.com", "Ship"), document_of("apps", "Deployment")];
        let ours = crd(&json!({"type": "object", "properties": {"sails": {}}}));
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}});
        let ship = ship(&json!({"oars": 1, "sails": 1}));
        let source = |definitions: &Definitions, object: &Value| {
            definitions.find(&ApiKind::of(object)).map(|d| d.source)
        };

        let none = Definitions::default();
        let unknown = none.unknown([&ship, &deployment, &ship].into_iter());
        assert_eq!(unknown.into_iter().collect::<Vec<_>>(), [ApiKind::of(&ship)]);
        assert_eq!((source(&none, &ship), source(&none, &deployment)), (None, Some(Source::Builtin)));

        let server = none.and_served(schemas.clone());
        assert_eq!(source(&server, &ship), Some(Source::Server));
        assert_eq!(wrong(&server, &ship), ["spec.sails"]);
        assert_eq!(source(&server, &deployment), Some(Source::Server));

        let both = Definitions::of([&ours].into_iter()).and_served(schemas);
        assert_eq!(source(&both, &ship), Some(Source::Release));
        assert_eq!(wrong(&both, &ship), ["spec.oars"]);
    }
}
