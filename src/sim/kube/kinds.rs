//! The kinds that a cluster serves: the built-in table and, per store, what CRDs add to it.
//!
//! A kind is named everywhere by its `KindId`, an index: comparing and hashing it costs nothing, and the ids of
//! the built-in kinds are constants.

use std::collections::HashMap;

/// One served kind of object.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own that discovery tells")]
pub struct Kind {
    /// API group, empty for the core group.
    pub group: String,
    /// API version, such as `v1`.
    pub version: String,
    /// Name of the kind, such as `Deployment`.
    pub kind: String,
    /// Name of the resource in paths, such as `deployments`.
    pub plural: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Whether a CRD defines it.
    pub custom: bool,
    /// Whether it has a `status` subresource.
    pub status: bool,
    /// Paths of the `scale` subresource, if it has one.
    pub scale: bool,
    /// Whether it keeps `metadata.generation`.
    pub generation: bool,
}

impl Kind {
    /// The `apiVersion` of its objects.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The resource as error messages name it: `deployments.apps`, `pods`.
    #[must_use]
    pub fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }
}

/// Names a kind: an index into the table of kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KindId(pub(crate) u16);

macro_rules! builtin_kinds {
    ($($konst:ident = $index:literal, $group:literal, $version:literal, $kind:literal, $plural:literal, $flags:literal;)*) => {
        impl KindId {
            $(#[doc = concat!("`", $plural, "` of `", $group, "/", $version, "`.")]
            pub const $konst: KindId = KindId($index);)*
        }
        const BUILTIN: &[(u16, &str, &str, &str, &str, &str)] =
            &[$(($index, $group, $version, $kind, $plural, $flags)),*];
    };
}

// Flags: n = namespaced, s = status subresource, c = scale subresource, g = keeps a generation.
builtin_kinds! {
    NAMESPACES = 0, "", "v1", "Namespace", "namespaces", "s";
    NODES = 1, "", "v1", "Node", "nodes", "s";
    PODS = 2, "", "v1", "Pod", "pods", "nsg";
    SERVICES = 3, "", "v1", "Service", "services", "ns";
    ENDPOINTS = 4, "", "v1", "Endpoints", "endpoints", "n";
    CONFIG_MAPS = 5, "", "v1", "ConfigMap", "configmaps", "n";
    SECRETS = 6, "", "v1", "Secret", "secrets", "n";
    EVENTS = 7, "", "v1", "Event", "events", "n";
    SERVICE_ACCOUNTS = 8, "", "v1", "ServiceAccount", "serviceaccounts", "n";
    RESOURCE_QUOTAS = 9, "", "v1", "ResourceQuota", "resourcequotas", "ns";
    LIMIT_RANGES = 10, "", "v1", "LimitRange", "limitranges", "n";
    PERSISTENT_VOLUME_CLAIMS = 11, "", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", "ns";
    PERSISTENT_VOLUMES = 12, "", "v1", "PersistentVolume", "persistentvolumes", "s";
    POD_TEMPLATES = 13, "", "v1", "PodTemplate", "podtemplates", "ng";
    REPLICATION_CONTROLLERS = 14, "", "v1", "ReplicationController", "replicationcontrollers", "nscg";
    DEPLOYMENTS = 15, "apps", "v1", "Deployment", "deployments", "nscg";
    REPLICA_SETS = 16, "apps", "v1", "ReplicaSet", "replicasets", "nscg";
    STATEFUL_SETS = 17, "apps", "v1", "StatefulSet", "statefulsets", "nscg";
    DAEMON_SETS = 18, "apps", "v1", "DaemonSet", "daemonsets", "nsg";
    CONTROLLER_REVISIONS = 19, "apps", "v1", "ControllerRevision", "controllerrevisions", "n";
    JOBS = 20, "batch", "v1", "Job", "jobs", "nsg";
    CRON_JOBS = 21, "batch", "v1", "CronJob", "cronjobs", "nsg";
    HORIZONTAL_POD_AUTOSCALERS = 22, "autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", "ns";
    POD_DISRUPTION_BUDGETS = 23, "policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", "nsg";
    INGRESSES = 24, "networking.k8s.io", "v1", "Ingress", "ingresses", "nsg";
    INGRESS_CLASSES = 25, "networking.k8s.io", "v1", "IngressClass", "ingressclasses", "g";
    NETWORK_POLICIES = 26, "networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", "ng";
    ENDPOINT_SLICES = 27, "discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", "ng";
    LEASES = 28, "coordination.k8s.io", "v1", "Lease", "leases", "n";
    ROLES = 29, "rbac.authorization.k8s.io", "v1", "Role", "roles", "n";
    ROLE_BINDINGS = 30, "rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", "n";
    CLUSTER_ROLES = 31, "rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", "";
    CLUSTER_ROLE_BINDINGS = 32, "rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", "";
    CUSTOM_RESOURCE_DEFINITIONS = 33, "apiextensions.k8s.io", "v1", "CustomResourceDefinition",
        "customresourcedefinitions", "sg";
    STORAGE_CLASSES = 34, "storage.k8s.io", "v1", "StorageClass", "storageclasses", "";
    PRIORITY_CLASSES = 35, "scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", "g";
}

/// The kinds that one cluster serves.
#[derive(Clone, Debug)]
pub struct Kinds {
    all: Vec<Kind>,
    by_resource: HashMap<(String, String, String), KindId>,
}

impl Default for Kinds {
    fn default() -> Self {
        let mut kinds = Self { all: Vec::with_capacity(BUILTIN.len() + 8), by_resource: HashMap::new() };
        for (index, group, version, kind, plural, flags) in BUILTIN {
            let id = kinds.add(Kind {
                group: (*group).to_owned(),
                version: (*version).to_owned(),
                kind: (*kind).to_owned(),
                plural: (*plural).to_owned(),
                namespaced: flags.contains('n'),
                custom: false,
                status: flags.contains('s'),
                scale: flags.contains('c'),
                generation: flags.contains('g'),
            });
            assert_eq!(id.0, *index, "the ids of built-in kinds are their places in the table");
        }
        kinds.add_listed();
        kinds
    }
}

impl Kinds {
    /// Adds what discovery lists and the table above does not: kinds without semantics of their own here.
    fn add_listed(&mut self) {
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        for group in super::discovery::builtin()["groups"].as_array().into_iter().flatten() {
            for version in group["versions"].as_array().into_iter().flatten() {
                for resource in version["resources"].as_array().into_iter().flatten() {
                    let (name, release) = (text(&group["metadata"]["name"]), text(&version["version"]));
                    let plural = text(&resource["resource"]);
                    let listable =
                        resource["verbs"].as_array().is_some_and(|all| all.iter().any(|v| v == "list"));
                    if !listable || self.by_resource(&name, &release, &plural).is_some() {
                        continue;
                    }
                    let subresources = resource["subresources"].as_array().into_iter().flatten();
                    self.add(Kind {
                        group: name,
                        version: release,
                        kind: text(&resource["responseKind"]["kind"]),
                        plural,
                        namespaced: resource["scope"] == "Namespaced",
                        custom: false,
                        status: subresources.into_iter().any(|one| one["subresource"] == "status"),
                        scale: false,
                        generation: true,
                    });
                }
            }
        }
    }

    /// Adds a kind, or replaces the one that serves the same resource.
    pub fn add(&mut self, kind: Kind) -> KindId {
        let key = (kind.group.clone(), kind.version.clone(), kind.plural.clone());
        if let Some(id) = self.by_resource.get(&key) {
            let id = *id;
            self.all[usize::from(id.0)] = kind;
            return id;
        }
        let id = KindId(u16::try_from(self.all.len()).expect("fewer than 65536 kinds"));
        self.all.push(kind);
        self.by_resource.insert(key, id);
        id
    }

    /// Lets another version's path lead to a kind.
    pub fn alias(&mut self, id: KindId, version: &str) {
        let kind = self.get(id);
        let key = (kind.group.clone(), version.to_owned(), kind.plural.clone());
        self.by_resource.insert(key, id);
    }

    /// Takes every path to a kind away; its id stays taken.
    pub fn hide(&mut self, id: KindId) {
        self.by_resource.retain(|_, other| *other != id);
    }

    /// Whether any path leads to a kind.
    #[must_use]
    pub fn is_served(&self, id: KindId) -> bool {
        self.by_resource.values().any(|other| *other == id)
    }

    /// The kind behind an id.
    #[must_use]
    pub fn get(&self, id: KindId) -> &Kind {
        &self.all[usize::from(id.0)]
    }

    /// Finds a kind by the parts of its path.
    #[must_use]
    pub fn by_resource(&self, group: &str, version: &str, plural: &str) -> Option<KindId> {
        self.by_resource.get(&(group.to_owned(), version.to_owned(), plural.to_owned())).copied()
    }

    /// Finds a kind by group and resource, whatever its version.
    #[must_use]
    pub fn find(&self, group: &str, plural: &str) -> Option<KindId> {
        self.iter()
            .find(|(id, kind)| kind.group == group && kind.plural == plural && self.is_served(*id))
            .map(|(id, _)| id)
    }

    /// Finds a kind by `apiVersion` and `kind` of an object.
    #[must_use]
    pub fn of_object(&self, api_version: &str, name: &str) -> Option<KindId> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        self.iter()
            .find(|(_, kind)| kind.kind == name && kind.group == group && kind.version == version)
            .map(|(id, _)| id)
    }

    /// Every kind with its id.
    pub fn iter(&self) -> impl Iterator<Item = (KindId, &Kind)> {
        self.all.iter().enumerate().map(|(index, kind)| (KindId(index as u16), kind))
    }
}
