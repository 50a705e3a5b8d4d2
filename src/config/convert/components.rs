//! Components, their order, sizes and strategies.

use super::{Cx, calendar, values};
use crate::config::codes;
use crate::config::model::{
    BlueGreenFile, ComponentFile, EnvironmentFile, ReplicasFile, StrategyFile, StrategyName,
};
use crate::config::scalar::Percent;
use crate::domain::environment::{Component, Platform, Replicas, Strategy};
use crate::domain::ids::ComponentId;
use std::path::PathBuf;

impl Cx<'_> {
    pub(super) fn components(&mut self, file: &EnvironmentFile, platform: &Platform) -> Vec<Component> {
        let compose = matches!(platform, Platform::Compose { .. });
        let default = match &file.strategy {
            Some(strategy) => self.strategy(strategy, &["strategy"]),
            None if compose => Strategy::Recreate,
            None => Strategy::Rolling,
        };
        let components: Vec<Component> = self
            .ordered(&["components"])
            .iter()
            .filter_map(|id| Some((id, file.components.get(id)?)))
            .map(|(id, component)| self.component(id, component, &default))
            .collect();
        let given = self.tree.get("components").is_some_and(|node| !node.entries().is_empty());
        if components.is_empty() && !given {
            let diagnostic = self
                .error(codes::MISSING, &["components"], "the environment names no components")
                .why("there is nothing to deploy")
                .help("add `components: {NAME: {image: REPOSITORY/NAME}}`");
            self.out.push(diagnostic);
        }
        self.check_platform(&components, platform);
        self.check_turns(&components, file.namespace.as_ref().or(file.application.as_ref()));
        if !compose {
            for component in &components {
                self.check_manifests(component);
            }
        }
        self.in_order(components)
    }

    fn component(&mut self, id: &str, file: &ComponentFile, default: &Strategy) -> Component {
        let path = ["components", id];
        self.check_name(id, &path);
        if file.image.as_ref().is_none_or(|image| image.trim().is_empty()) {
            let message = format!("component `{id}` has no image");
            let help = "add `image: REPOSITORY/NAME`; the release's version becomes its tag";
            if self.tree.find(&["components", id, "image"]).is_none() || file.image.is_some() {
                let diagnostic = self.error(codes::MISSING, &path, message).help(help);
                self.out.push(diagnostic);
            }
        } else if file.image.as_ref().is_some_and(|image| image.contains(char::is_whitespace)) {
            let image = file.image.clone().unwrap_or_default();
            let diagnostic = self
                .error(codes::BAD_NAME, &["components", id, "image"], format!("`{image}` is not an image"))
                .help("write `REGISTRY/REPOSITORY/NAME`, with `:TAG` or `@sha256:…` to pin it");
            self.out.push(diagnostic);
        }
        let manifests = match &file.manifests {
            Some(manifests) => manifests.iter().map(PathBuf::from).collect(),
            None => vec![PathBuf::from("manifests").join(id)],
        };
        let strategy = file.strategy.as_ref().map_or_else(
            || default.clone(),
            |strategy| self.strategy(strategy, &["components", id, "strategy"]),
        );
        Component {
            id: ComponentId::new(id),
            image: file.image.clone().unwrap_or_default(),
            manifests,
            depends_on: file.depends_on.iter().map(ComponentId::new).collect(),
            strategy,
            replicas: self.replicas(file.replicas.as_ref(), id),
            version_probe: file.version_probe.as_ref().and_then(|probe| self.version_probe(probe, id)),
            values: values(&file.values),
        }
    }

    fn check_manifests(&mut self, component: &Component) {
        let id = component.id.as_str();
        for (index, path) in component.manifests.iter().enumerate() {
            let full = self.root.join(path);
            let why = match std::fs::read_dir(&full) {
                Ok(entries) => {
                    let mut names = entries.flatten().map(|entry| entry.file_name());
                    if names.any(|name| is_manifest(&name.to_string_lossy())) {
                        continue;
                    }
                    "the folder holds no *.yaml file"
                }
                Err(_) if full.is_file() => continue,
                Err(_) => "it does not exist",
            };
            let shown = path.display();
            let index = index.to_string();
            let diagnostic = self
                .error(
                    codes::NO_MANIFESTS,
                    &["components", id, "manifests", &index],
                    format!("component `{id}` has no manifests in {shown}"),
                )
                .why(why)
                .help(format!("create it, or name other files: `components.{id}.manifests: [PATH]`"));
            self.out.push(diagnostic);
        }
    }

    fn replicas(&mut self, file: Option<&ReplicasFile>, id: &str) -> Replicas {
        let given = file.is_some();
        let fixed = |n: u32| Replicas { given, min: n, max: n, cpu_percent: None, memory_percent: None };
        let range = match file {
            None => return fixed(1),
            Some(ReplicasFile::Fixed(count)) => return fixed(*count),
            Some(ReplicasFile::Range(range)) => range,
        };
        let min = range.min.unwrap_or(1);
        let max = range.max.unwrap_or(min);
        if max < min {
            let path = ["components", id, "replicas", "max"];
            let diagnostic = self
                .error(codes::CONFLICT, &path, format!("`max` {max} is less than `min` {min}"))
                .help(format!("write at least {min}, or lower `min`"));
            self.out.push(diagnostic);
        }
        let mut percent = |key: &str, given: Option<Percent>| {
            let share = given?.0;
            if !(1.0..=100.0).contains(&share) {
                let path = ["components", id, "replicas", key];
                let diagnostic = self
                    .error(codes::OUT_OF_RANGE, &path, format!("`{key}: {share}%` is out of range"))
                    .why("an autoscaler aims at a share of what the pods request")
                    .help("write a share from 1% to 100%");
                self.out.push(diagnostic);
            }
            Some(share.round() as u32)
        };
        let cpu_percent = percent("cpu", range.cpu);
        let memory_percent = percent("memory", range.memory);
        Replicas { given, min, max, cpu_percent, memory_percent }
    }

    fn strategy(&mut self, file: &StrategyFile, path: &[&str]) -> Strategy {
        let detail = match file {
            StrategyFile::Named(StrategyName::Rolling) => return Strategy::Rolling,
            StrategyFile::Named(StrategyName::Recreate) => return Strategy::Recreate,
            StrategyFile::Named(StrategyName::BlueGreen) => {
                return self.blue_green(&BlueGreenFile::default(), path);
            }
            StrategyFile::Named(StrategyName::Canary) => {
                return Strategy::Canary(calendar::canary(self.profile));
            }
            StrategyFile::Detailed(detail) => detail,
        };
        match (&detail.canary, &detail.blue_green) {
            (Some(canary), None) => self.canary(canary, path),
            (None, Some(settings)) => self.blue_green(settings, path),
            (canary, _) => {
                let node = self.tree.find(path);
                let written = |key| node.is_some_and(|node| node.get(key).is_some());
                if canary.is_some() || !(written("canary") || written("blue_green")) {
                    let diagnostic = self
                        .error(codes::CONFLICT, path, "a strategy is exactly one of its keys")
                        .help("keep `canary` or `blue_green`");
                    self.out.push(diagnostic);
                }
                Strategy::Rolling
            }
        }
    }

    /// Compose replaces containers in place; a Hailo device serves one process only.
    fn check_platform(&mut self, components: &[Component], platform: &Platform) {
        let Platform::Compose { hailo, .. } = platform else { return };
        for component in components {
            let id = component.id.as_str();
            let fits = match component.strategy {
                Strategy::Recreate => true,
                Strategy::Rolling => !hailo,
                Strategy::BlueGreen(_) | Strategy::Canary(_) => false,
            };
            if fits {
                continue;
            }
            let own = ["components", id, "strategy"];
            let path = if self.tree.find(&own).is_some() { own.to_vec() } else { vec!["strategy"] };
            let why = if *hailo {
                "the Hailo device is exclusive: the old container must stop before the new one starts"
            } else {
                "Compose runs one container per service on one machine: there is no traffic to split"
            };
            let message = format!("component `{id}` cannot use this strategy on Compose");
            let diagnostic =
                self.error(codes::CONFLICT, &path, message).why(why).help("write `strategy: recreate`");
            self.out.push(diagnostic);
        }
    }

    /// Dependencies before dependents, the order of the file otherwise.
    fn in_order(&mut self, components: Vec<Component>) -> Vec<Component> {
        let known: Vec<&str> = components.iter().map(|c| c.id.as_str()).collect();
        for component in &components {
            for (index, other) in component.depends_on.iter().enumerate() {
                let index = index.to_string();
                let path = ["components", component.id.as_str(), "depends_on", &index];
                if !known.contains(&other.as_str()) {
                    self.unknown(codes::UNKNOWN_COMPONENT, "component", other.as_str(), &path, &known);
                }
            }
        }
        let known: Vec<ComponentId> = components.iter().map(|c| c.id.clone()).collect();
        let mut waiting = components;
        let mut done: Vec<Component> = Vec::new();
        while !waiting.is_empty() {
            let ready = waiting.iter().position(|component| {
                component
                    .depends_on
                    .iter()
                    .all(|other| !known.contains(other) || done.iter().any(|c| c.id == *other))
            });
            if let Some(index) = ready {
                done.push(waiting.remove(index));
            } else {
                self.circle(&waiting);
                done.append(&mut waiting);
            }
        }
        done
    }

    fn circle(&mut self, waiting: &[Component]) {
        let Some(mut at) = waiting.first() else { return };
        let mut way: Vec<&str> = Vec::new();
        // Every component that waits depends on one that waits: the walk must meet itself.
        while !way.contains(&at.id.as_str()) {
            way.push(at.id.as_str());
            let next = at.depends_on.iter().find_map(|id| waiting.iter().find(|c| c.id == *id));
            let Some(next) = next else { return };
            at = next;
        }
        let start = way.iter().position(|id| *id == at.id.as_str()).unwrap_or(0);
        let circle: Vec<&str> = way[start..].iter().copied().chain([at.id.as_str()]).collect();
        let path = ["components", at.id.as_str(), "depends_on"];
        let diagnostic = self
            .error(
                codes::DEPENDENCY_CYCLE,
                &path,
                format!("components depend on each other in a circle: {}", circle.join(" → ")),
            )
            .why("none of them could be deployed first")
            .help("remove one of these dependencies");
        self.out.push(diagnostic);
    }
}

/// Whether a file of a manifest folder is a template.
fn is_manifest(name: &str) -> bool {
    !name.starts_with('.') && name.rsplit_once('.').is_some_and(|(_, end)| end == "yaml" || end == "yml")
}
