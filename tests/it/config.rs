//! Environments: reading, layering, diagnostics, rendering, checks.

mod diagnostics;
mod layers;
mod objects;

use deployctl::domain::diagnostic::Diagnostics;
use deployctl::domain::environment::{Strategy, TrafficClass};
use deployctl::domain::{Object, TargetId};
use deployctl::{config, render};
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A project in a folder of its own, which goes away with it.
struct Project(PathBuf);

impl Project {
    fn new(files: &[(&str, &str)]) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name =
            format!("deployctl-config-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let project = Self(std::env::temp_dir().join(name));
        for (path, text) in files {
            project.write(path, text);
        }
        project
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn load(&self, name: &str) -> Result<config::Loaded, Diagnostics> {
        config::load(&self.0, name, &config::Overrides::default())
    }

    /// Everything that `validate` says, the folder's own name taken out.
    fn validate(&self, name: &str) -> String {
        let found = render::validate(&self.0, Some(name));
        let folder = self.0.display().to_string();
        format!("{}", found.diagnostics).replace(&folder, "ROOT")
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn shipped_environments_validate_clean() {
    let found = render::validate(root(), None);
    let said = format!("{}{found}", found.diagnostics);
    assert_eq!(said, "3 environments on 1 base, 69 objects, 0 errors, 0 warnings");
}

#[test]
fn shipped_production_has_the_figures_that_were_asked_for() {
    let loaded = config::load(root(), "production", &config::Overrides::default()).unwrap();
    let environment = loaded.environment;
    let minutes = |n: u64| Duration::from_secs(n * 60);
    let waves: Vec<Vec<&str>> =
        environment.waves.iter().map(|wave| wave.iter().map(TargetId::as_str).collect()).collect();
    assert_eq!(waves, [["us-west-2"], ["us-east-1"]]);
    assert_eq!(environment.target(&"us-west-2".into()).unwrap().traffic, TrafficClass::None);
    assert_eq!(environment.target(&"us-east-1".into()).unwrap().traffic, TrafficClass::Live);
    for component in &environment.components {
        let Strategy::Canary(canary) = &component.strategy else { panic!("{:?}", component.strategy) };
        let steps: Vec<_> = canary.steps.iter().map(|step| (step.weight, step.hold)).collect();
        assert_eq!(steps, [(10, minutes(5)), (25, minutes(15)), (50, minutes(30))]);
        let replicas = &component.replicas;
        assert_eq!((replicas.min, replicas.max), (6, 20));
        assert_eq!((replicas.cpu_percent, replicas.memory_percent), (Some(65), Some(75)));
    }
    let limits: Vec<_> =
        environment.gates.iter().map(|gate| (gate.name.as_str(), gate.max, gate.min)).collect();
    assert_eq!(limits[0], ("error-rate", Some(0.05), None));
    assert_eq!(limits[1], ("latency", Some(0.2), None));
    assert!((limits[2].2.unwrap() - 0.9995).abs() < 1e-12, "{limits:?}");
    assert_eq!(environment.budget_usd, Some(5000));
    assert_eq!(environment.backup.rpo, Some(minutes(15)));
    assert_eq!(environment.backup.rto, Some(minutes(60)));
    assert_eq!(environment.alerts["critical"], ["pagerduty"]);
}

#[test]
fn shipped_manifests_become_the_objects_of_each_component() {
    let environment = config::load(root(), "production", &config::Overrides::default()).unwrap().environment;
    let rendered = render::render_targets(&environment, "1.4.0").unwrap();
    let objects = &rendered[&environment.targets[0].id];
    let of = |component: &str| -> Vec<&str> {
        objects.iter().filter(|o| o.component == Some(component.into())).map(Object::kind).collect()
    };
    let all = ["ConfigMap", "Deployment", "HorizontalPodAutoscaler", "Ingress", "NetworkPolicy"];
    assert_eq!(of("web"), [&all[..], &["PodDisruptionBudget", "Service", "ServiceAccount"]].concat());
    assert!(!of("worker").contains(&"Ingress"), "the worker has no traffic from outside");
    for object in objects.iter().filter(|object| object.kind() == "Deployment") {
        let pods = object.value.pointer("/spec/template/metadata/labels").unwrap();
        assert_eq!(object.value.pointer("/metadata/namespace").unwrap(), "prime-spark");
        assert_eq!(pods["deployctl.dev/application"], "prime-spark");
        assert_eq!(pods["version"], "1.4.0");
        let selector = object.value.pointer("/spec/selector/matchLabels").unwrap().as_object().unwrap();
        assert_eq!(selector.len(), 1, "labels never go into selectors: {selector:?}");
        assert!(object.value.pointer("/spec/replicas").is_none(), "the autoscaler owns it");
    }
}

#[test]
fn the_shipped_schema_is_the_one_of_this_program() {
    let shipped = std::fs::read_to_string(root().join("schema/environment.schema.json")).unwrap();
    let current = serde_json::to_string_pretty(&config::json_schema()).unwrap() + "\n";
    assert!(shipped == current, "run: deployctl schema > schema/environment.schema.json");
}

#[test]
fn shipped_files_name_their_schema_and_use_its_keys_only() {
    let schema = config::json_schema();
    let known = schema["properties"].as_object().unwrap();
    for name in ["base", "dev", "staging", "production"] {
        let path = root().join(format!("environments/{name}.yaml"));
        let text = std::fs::read_to_string(path).unwrap();
        assert!(
            text.starts_with("# yaml-language-server: $schema=../schema/environment.schema.json\n"),
            "{name}"
        );
        let top = text.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
        for key in top.filter_map(|line| line.split(':').next()) {
            assert!(known.contains_key(key), "{name}: {key}");
        }
    }
}

#[test]
fn every_code_is_explained_once() {
    let mut codes: Vec<u16> = config::codes::CODES.iter().map(|(code, _, _)| *code).collect();
    codes.dedup();
    assert_eq!(codes.len(), config::codes::CODES.len());
    for (code, title, explanation) in config::codes::CODES {
        assert!((101..=299).contains(code) && !title.is_empty() && explanation.len() > 25, "DC{code:04}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_it_panic_and_every_mistake_has_a_place(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        survives(&bytes);
    }

    #[test]
    fn no_yaml_like_text_makes_it_panic(text in "([a-z]{1,4}|[:{}\\[\\]&*!|>'\"%@,?#~ -]|\n|\t| {2}|components|targets|values|waves|gates|\\$\\{env:A\\}|<<|5m|10%|é){0,60}") {
        survives(text.as_bytes());
    }

    #[test]
    fn no_template_makes_it_panic(text in "([a-z]{1,4}|[:{}\\[\\]|'\"% -]|\n| {2}|\\{\\{|\\}\\}|\\{%|%\\}|values|if|for x in|endif|endfor|kind|metadata|name){0,40}") {
        let project = Project::new(&[("environments/p.yaml", MINIMAL)]);
        project.write("manifests/api/a.yaml", &text);
        let found = render::validate(&project.0, Some("p"));
        for mistake in &found.diagnostics {
            prop_assert!(!mistake.place.to_string().is_empty() && mistake.place.line_column().0 > 0);
        }
    }
}

const MINIMAL: &str = "application: app
targets: {eu: {cluster: {context: eu}}}
components: {api: {image: registry.example.com/api}}
";

fn survives(bytes: &[u8]) {
    let project = Project::new(&[]);
    project.write("environments/p.yaml", bytes);
    let mistakes = project.load("p").expect_err("garbage is no environment");
    assert!(mistakes.errors() > 0);
    for mistake in &mistakes {
        let (line, column) = mistake.place.line_column();
        assert!(line > 0 && column > 0 && !mistake.place.file.name.is_empty());
        assert!(!mistake.to_string().is_empty());
    }
    assert!(!config::report::graphical(&mistakes, true, 100).is_empty());
}

#[test]
fn hostile_yaml_is_refused_not_followed() {
    let joined = |lines: Vec<String>| lines.concat();
    let alias = |n: usize| format!(" a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(","));
    let bomb = format!("values:\n a0: &a0 [x,x,x,x,x,x,x,x,x]\n{}", joined((1..12).map(alias).collect()));
    let deep = format!("values: {}{}", "[".repeat(100_000), "]".repeat(100_000));
    let nested = joined((0..5_000).map(|n| format!("{}a:\n", " ".repeat(n))).collect());
    let keys = joined((0..300_000).map(|n| format!("a{n}: 1,")).collect());
    let wide = format!("values: {{{keys}}}");
    for text in [bomb, deep, nested, wide] {
        survives(text.as_bytes());
    }
}
