//! What layering keeps, replaces and deletes, and where its messages point.

use super::{MINIMAL, Project};
use deployctl::{config, render};

#[test]
fn mappings_merge_lists_replace_and_null_deletes() {
    let project = Project::new(&[
        ("environments/base.yaml", MINIMAL),
        (
            "environments/p.yaml",
            "extends: base
components: {api: {replicas: 3}, web: {image: w:1, manifests: [manifests/api]}}
values: {a: {x: 1, y: 2}, list: [1, 2]}
",
        ),
        (
            "environments/q.yaml",
            "extends: p
components: {web: null}
values: {a: {y: null, z: 3}, list: [9]}
",
        ),
        ("manifests/api/a.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}"),
    ]);
    let environment = project.load("q").unwrap().environment;
    assert_eq!(environment.components.len(), 1);
    assert_eq!(environment.components[0].replicas.min, 3);
    assert_eq!(environment.components[0].image, "registry.example.com/api");
    assert_eq!(environment.values, serde_json::json!({"a": {"x": 1, "z": 3}, "list": [9]}));
}

#[test]
fn another_strategy_replaces_the_one_of_the_base() {
    let project = Project::new(&[
        (
            "environments/base.yaml",
            &format!("{MINIMAL}strategy: {{canary: {{steps: [{{weight: 10%, hold: 5m}}]}}}}\n"),
        ),
        ("environments/p.yaml", "extends: base\nstrategy: {blue_green: {switch: service}}\n"),
        ("manifests/api/a.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}"),
    ]);
    let environment = project.load("p").unwrap().environment;
    assert!(matches!(
        environment.components[0].strategy,
        deployctl::domain::environment::Strategy::BlueGreen(_)
    ));
}

#[test]
fn a_message_points_at_the_file_that_set_the_value() {
    let project = Project::new(&[
        ("environments/base.yaml", &format!("{MINIMAL}bake: soon\n")),
        ("environments/p.yaml", "extends: base\nhistory: 3\n"),
        ("manifests/api/a.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}"),
    ]);
    assert_eq!(
        project.validate("p"),
        "error[DC0106]: `soon` is not a duration (`bake`)
  --> environments/base.yaml:4:7
  |
4 | bake: soon
  |       ^^^^
  = help: write e.g. `30s`, `5m`, `1h30m`
"
    );
}

#[test]
fn the_command_line_wins_over_every_layer() {
    let project = Project::new(&[
        (
            "environments/p.yaml",
            "application: app
targets: {eu: {cluster: {context: eu}, values: {level: target}}}
components: {api: {image: r/api, values: {level: component}}}
values: {level: environment, other: kept}
",
        ),
        (
            "manifests/api/a.yaml",
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {l: '{{ values.level }}', o: '{{ values.other }}', i: '{{ image }}'}}",
        ),
    ]);
    let data = |overrides: &config::Overrides| {
        let environment = config::load(&project.0, "p", overrides).unwrap().environment;
        let version = environment.version.clone().unwrap_or_else(|| "1.0".to_owned());
        let objects = render::render_targets(&environment, &version).unwrap();
        objects[&environment.targets[0].id][0].value["data"].clone()
    };
    let plain = data(&config::Overrides::default());
    assert_eq!(plain, serde_json::json!({"l": "target", "o": "kept", "i": "r/api:1.0"}));
    let overrides = config::Overrides {
        version: Some("2.0".to_owned()),
        images: vec![("api".to_owned(), "other/api@sha256:1".to_owned())],
        set: vec!["level=cli".to_owned()],
        records_only: false,
    };
    assert_eq!(data(&overrides), serde_json::json!({"l": "cli", "o": "kept", "i": "other/api@sha256:1"}));
}

#[test]
fn versions_keep_their_zeros() {
    let project = Project::new(&[
        ("environments/p.yaml", &format!("{MINIMAL}version: 1.10\ncluster_version: 1.30\n")),
        ("manifests/api/a.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}"),
    ]);
    let environment = project.load("p").unwrap().environment;
    assert_eq!(environment.version.as_deref(), Some("1.10"));
    assert_eq!(environment.cluster_version, (1, 30));
}
