//! One row per kind of mistake: the YAML, and every byte of what is said about it.

use super::{MINIMAL, Project};
use deployctl::{config, render};

const API: (&str, &str) = ("manifests/api/a.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}");

/// What is said about lines added to a minimal environment (which has three lines itself).
fn said(added: &str) -> String {
    let project = Project::new(&[("environments/p.yaml", &format!("{MINIMAL}{added}\n")), API]);
    project.validate("p")
}

/// Rows: what is added, code and message, column and length of the carets, why, help.
type Row = (&'static str, &'static str, usize, usize, &'static str, &'static str);

const ROWS: &[Row] = &[
    (
        "histroy: 3",
        "DC0104]: unknown key `histroy`",
        1,
        7,
        "`history`: How many releases that served are kept for `rollback`, and, apart from them, how many that failed.",
        "write `history`",
    ),
    (
        "history: [3]",
        "DC0105]: `history` takes a whole number, not a list",
        10,
        3,
        "",
        "write digits only, e.g. `3`",
    ),
    ("bake: 10", "DC0106]: `10` has no unit (`bake`)", 7, 2, "", "write `10s`, `10m` or `10h`"),
    (
        "bake: 5 min",
        "DC0106]: `5 min` is not a duration (`bake`)",
        7,
        5,
        "",
        "write e.g. `30s`, `5m`, `1h30m`",
    ),
    (
        "history: 1000",
        "DC0107]: `1000` is out of range for `history`",
        10,
        4,
        "",
        "write a number from 1 to 100",
    ),
    (
        "limits: {lease: 5s}",
        "DC0107]: `lease: 5s` is out of range",
        17,
        2,
        "a write may take ten seconds, and nothing is sent that could outlive the lock",
        "write at least `15s`",
    ),
    (
        "strategy: {canary: {dynamic_stable_scale: true}}",
        "DC0122]: `dynamic_stable_scale` with pods as the router",
        43,
        4,
        "pods are the traffic there: with fewer pods stable would get less of it than the step says",
        "remove it, or let another `router` carry the weights",
    ),
    (
        "strategy: {canary: {router: nginx, mirror: {share: 10%, hold: 5m}}}",
        "DC0122]: `mirror` with `router: nginx`",
        36,
        6,
        "ingress-nginx copies all requests or none, by an annotation of the Ingress itself, which is never written",
        "remove `mirror`, or let `gateway` or `istio` carry the weights",
    ),
    (
        "strategy: {canary: {router: alb, mirror: {hold: 5m}}}",
        "DC0122]: `mirror` with `router: alb`",
        34,
        6,
        "an Application Load Balancer does not copy requests",
        "remove `mirror`, or let `gateway` or `istio` carry the weights",
    ),
    (
        "one_box: {bake: 1h}",
        "DC0122]: `one_box` without a canary",
        1,
        7,
        "one pod is a first step of a canary; no component has that strategy",
        "remove it, or write `strategy: canary` for a component",
    ),
    (
        "one_box: {bake: 1h}\nstrategy: {canary: {router: istio, mirror: {hold: 5m}}}",
        "DC0122]: `one_box` with the `mirror` of `api`",
        1,
        7,
        "copies of requests need as many pods as their share, and come before any request of a user",
        "keep one of the two",
    ),
    (
        "one_box: {bake: 1h, max_share: 2.5%}\nstrategy: canary",
        "DC0107]: a share of 2.5 %",
        32,
        4,
        "",
        "write a whole share from 1% to 100%",
    ),
    (
        "take: [\"spec replicas\"]",
        "DC0107]: `spec replicas` names no field",
        8,
        15,
        "",
        "write a path as the plan shows it, e.g. `spec.replicas` or `Service/web:spec.type`",
    ),
    ("on_interrupt: stopp", "DC0108]: `stopp` is not a value of `on_interrupt`", 15, 5, "", "write `stop`"),
    ("strategy: canry", "DC0108]: `canry` is not a value of `strategy`", 11, 5, "", "write `canary`"),
    (
        "readiness: [{apiVersion: a.b/v1, kind: C, ready: {}}]",
        "DC0128]: this says nothing, or two things at once",
        43,
        5,
        "",
        "write `{condition: Ready, status: \"True\"}`, `{path: status.phase, value: Running}` or `{exists: true}`",
    ),
    (
        "readiness: [{apiVersion: apps/v1, kind: Deployment, ready: {exists: true}}]",
        "DC0128]: a Deployment is judged by its pods, no rule can change that",
        41,
        10,
        "traffic must never be sent to pods that are not ready",
        "remove the rule",
    ),
    (
        "readiness: [{apiVersion: a.b/v1, kind: C, redy: {exists: true}, ready: {exists: true}}]",
        "DC0104]: unknown key `redy` in `readiness.0`",
        43,
        4,
        "`ready`: What must hold.",
        "write `ready`",
    ),
    (
        "readiness: [{apiVersion: a.b/v1, kind: C, ready: {condition: Ready, status: Yes}}]",
        "DC0108]: `Yes` is not a value of `readiness.0.ready.status`",
        77,
        3,
        "",
        "write one of `True`, `False`, `Unknown`",
    ),
    (
        "strategy: {canary: {steps: [{hold: 5m}]}}",
        "DC0109]: `weight` is missing in `strategy.canary.steps.0`",
        29,
        10,
        "Share of the traffic, 1–99 %.",
        "add `weight: …`",
    ),
    (
        "strategy: {canary: {router: ngnix}}",
        "DC0108]: `ngnix` is not a value of `strategy.canary.router`",
        29,
        5,
        "",
        "write `nginx`",
    ),
    (
        "strategy: {canary: {router: nginx, steps: [{weight: 20%, hold: 5m, scale: 10%}]}}",
        "DC0115]: a scale outside of weight and 100 %",
        75,
        3,
        "a smaller revision could not carry its share",
        "write a whole share from 20% to 100% with another `router`, or remove it",
    ),
    (
        "strategy: {canary: {steps: [{weight: 100%, hold: 5m}]}}",
        "DC0115]: a weight of 100 %",
        38,
        4,
        "the weights of a canary lie between 1 % and 99 %; the step to 100 % follows by itself",
        "write a whole share from 1% to 99%, or remove the step",
    ),
    ("waves: [[eu, us]]", "DC0117]: there is no target `us`", 14, 2, "", "write one of `eu`"),
    (
        "gates: {g: {metric: p95}}",
        "DC0118]: gate `g` has no limit",
        9,
        1,
        "it would measure and never decide",
        "add `max: 200ms`",
    ),
    (
        "gates: {g: {max: 3}}",
        "DC0118]: gate `g` measures nothing",
        9,
        1,
        "",
        "add `metric: error_rate`, `metric: p95`, `metric: availability`, `query: PROMQL`, `metric: {cloudwatch: …}` or \
         `metric: {http: …}`",
    ),
    (
        "smoke: {s: {component: apy, path: /}}",
        "DC0113]: there is no component `apy`",
        24,
        3,
        "",
        "write `api`",
    ),
    (
        "smoke: {s: {component: api, path: health}}",
        "DC0126]: `health` is not a path",
        35,
        6,
        "",
        "write `/health`",
    ),
    (
        "budget: 1e99",
        "DC0105]: `budget` takes a whole number, not the number `1e99`",
        9,
        4,
        "",
        "write digits only, e.g. `3`",
    ),
    (
        "cluster_version: new",
        "DC0106]: `new` is not a Kubernetes version",
        18,
        3,
        "",
        "write `MAJOR.MINOR`, e.g. `\"1.36\"`",
    ),
    (
        "alerts: {info: [tell-me]}",
        "DC0108]: `tell-me` is no way to tell anybody",
        17,
        7,
        "",
        "write `pagerduty`, `slack:#channel`, `email:NAME@HOST` or `webhook:https://…`",
    ),
    (
        "values: {a: \"${env:X}\"}",
        "DC0121]: a secret reference outside of `secrets`",
        13,
        10,
        "references are resolved under `secrets` and in credentials of metric stores only; here the text would be taken literally",
        "move it to `secrets: {NAME: {KEY: …}}` and read that Secret with `secretKeyRef`",
    ),
    (
        "terraform: {dir: nowhere}",
        "DC0110]: there is no folder `nowhere`",
        18,
        7,
        "paths start from ROOT",
        "",
    ),
    ("tests: {}", "DC0109]: `tests` names no command", 1, 5, "", "add `command: [PROGRAM, ARGUMENT, …]`"),
    (
        "limits: {run: 1m}\nstrategy: {blue_green: {hold: 5m}}",
        "DC0122]: holds and bakes alone take 5m, `limits.run` is 1m",
        15,
        2,
        "every run would be rolled back for taking too long",
        "raise `limits.run`, or shorten the holds",
    ),
    (
        "strategy: {blue_green: {green_namespace: green}}",
        "DC0122]: nothing can switch traffic to this namespace",
        42,
        5,
        "a Service selects pods of its own namespace, never of another",
        "add `switch: gateway` (an HTTPRoute) or `switch: istio` (a VirtualService), or remove `green_namespace`: blue and green then stand in one namespace",
    ),
    (
        "strategy: {blue_green: {switch: istio}}",
        "DC0122]: `switch: istio` without `green_namespace`",
        33,
        5,
        "it leads a route to the other of two namespaces; inside of one the Service's selector switches",
        "add `green_namespace: NAME`, or write `switch: service`",
    ),
    (
        "strategy: {blue_green: {switch: gateway, green_namespace: shop}}\nnamespace: shop",
        "DC0122]: `green_namespace` is the environment's own namespace",
        59,
        4,
        "blue stands in `namespace`, green in the other: they take turns",
        "write the name of another namespace; it is made if it is not there",
    ),
    (
        "platform: {compose: {host: pi}}\nstrategy: recreate",
        "DC0108]: `pi` is not a machine",
        28,
        2,
        "",
        "write `local` or `ssh://USER@HOST`",
    ),
];

#[test]
fn every_mistake_is_shown_with_its_line_and_its_remedy() {
    for (added, message, column, length, why, help) in ROWS {
        let line = added.lines().next().unwrap();
        let line_of = |text: &str, name: &str| {
            if text.is_empty() { String::new() } else { format!("  = {name}: {text}\n") }
        };
        let expected = format!(
            "error[{message}\n  --> environments/p.yaml:4:{column}\n  |\n4 | {line}\n  | {:2$}{}\n{why}{help}",
            "",
            "^".repeat(*length),
            column - 1,
            why = line_of(why, "why"),
            help = line_of(help, "help"),
        );
        let found = said(added);
        let without_prometheus = found.split("\nerror[DC0118]: there are gates, but").next().unwrap();
        let first = found.split("\n\n").find(|part| part.contains(message)).unwrap_or(without_prometheus);
        assert_eq!(format!("{}\n", first.trim_end()), expected, "{added}\n{found}");
    }
}

#[test]
fn one_pod_needs_a_target_with_users_and_a_time() {
    let said = |one_box: &str, traffic: &str| {
        let environment = format!(
            "application: app\ntargets: {{eu: {{cluster: {{context: eu}}, traffic: {traffic}}}}}\n\
             components: {{api: {{image: r/api, strategy: canary}}}}\none_box: {one_box}\n"
        );
        Project::new(&[("environments/p.yaml", &environment), API]).validate("p")
    };
    let standby = said("{bake: 1h}", "none");
    assert!(
        standby.contains("DC0122]: `one_box` without a live target\n  --> environments/p.yaml:4:1\n"),
        "{standby}"
    );
    let timeless = said("{max_share: 5%}", "live");
    assert!(timeless.contains("`one_box` does not say how long its pod bakes"), "{timeless}");
    assert!(!said("{bake: 10m}", "live").contains("one_box"));
}

#[test]
fn a_wave_that_misses_a_target_points_at_both_places() {
    let environment = "application: app
targets:
  eu: {cluster: {context: eu}}
  us: {cluster: {context: us}}
waves: [[eu]]
components: {api: {image: r/api}}
";
    let project = Project::new(&[("environments/p.yaml", environment), API]);
    assert_eq!(
        project.validate("p"),
        "error[DC0116]: no wave holds target `us`
  --> environments/p.yaml:5:1
  |
5 | waves: [[eu]]
  | ^^^^^
  ::: environments/p.yaml:4:3
  |
4 |   us: {cluster: {context: us}}
  |   ^^ named here
  = why: it would never be deployed
  = help: add it: `- [us]`, or remove `targets.us`
"
    );
}

#[test]
fn a_file_with_many_mistakes_reports_them_all_at_once() {
    let environment = "applcation: shop
application: Shop
targets:
  eu: {traffic: lvie}
waves: [[eu], [us], [eu]]
bake: 10
components:
  api: {image: r/api, depends_on: [web]}
  web: {image: r/web, depends_on: [api], replicas: {min: 3, max: 2}, manifests: [manifests/api]}
strategy: {canary: {steps: [{weight: 25%, hold: 5m}, {weight: 10%, hold: 5}]}}
gates:
  errors: {metric: error_rate, max: 5}
  speed: {metric: p95, max: 200ms, components: [wep]}
smoke: {s: {component: ap, path: x}}
secrets: {s: {k: hunter2}}
history: 0
values: {a: 1, a: 2}
";
    let project = Project::new(&[("environments/p.yaml", environment), API]);
    let said = project.validate("p");
    let codes: Vec<&str> = said.lines().filter_map(|l| l.strip_prefix("error[")?.split(']').next()).collect();
    let expected = [
        "DC0104", "DC0126", "DC0118", "DC0119", "DC0108", "DC0117", "DC0116", "DC0106", "DC0114", "DC0122",
        "DC0115", "DC0106", "DC0106", "DC0113", "DC0113", "DC0126", "DC0120", "DC0107", "DC0102", "DC0153",
    ];
    assert_eq!(codes, expected, "{said}");
    assert!(!said.contains("hunter2"), "a secret is never quoted:\n{said}");
    let drawn = config::report::graphical(&render::validate(&project.0, Some("p")).diagnostics, false, 100);
    assert!(!drawn.contains("hunter2") && drawn.contains("environments/p.yaml"), "{drawn}");
}

#[test]
fn secrets_stay_hidden_in_broken_files_too() {
    let environment = format!("{MINIMAL}secrets:\n  s:\n    k: hunter2 : [\n");
    let project = Project::new(&[("environments/p.yaml", &environment), API]);
    let said = project.validate("p");
    assert!(said.contains("DC0101") && !said.contains("hunter2"), "{said}");
}

#[test]
fn an_unknown_environment_suggests_the_nearest_and_lists_all() {
    let project =
        Project::new(&[("environments/production.yaml", MINIMAL), ("environments/staging.yaml", "")]);
    let said =
        project.load("prodution").unwrap_err().to_string().replace(&project.0.display().to_string(), "ROOT");
    assert_eq!(
        said,
        "error[DC0112]: there is no environment `prodution`
 --> command line:1:1
  |
1 | prodution
  | ^^^^^^^^^
  = why: ROOT/environments/prodution.yaml does not exist
  = help: write `production`; there are: production, staging
"
        .replace("\n --> ", "\n  --> ")
    );
    let outside = project.load("../secret").unwrap_err().to_string();
    assert!(outside.contains("DC0112"), "{outside}");
}

#[test]
fn extends_may_not_go_in_a_circle_nor_to_nowhere() {
    let project = Project::new(&[
        ("environments/a.yaml", "extends: b\n"),
        ("environments/b.yaml", "extends: a\n"),
        ("environments/c.yaml", "extends: bb\n"),
    ]);
    let circle = project.load("a").unwrap_err().to_string();
    assert!(
        circle.contains("DC0111]: `extends` goes in a circle: a → b → a\n  --> environments/b.yaml:1:10"),
        "{circle}"
    );
    let nowhere = project.load("c").unwrap_err().to_string();
    assert!(
        nowhere.contains(
            "DC0110]: `extends: bb`: there is no environments/bb.yaml\n  --> environments/c.yaml:1:10"
        ),
        "{nowhere}"
    );
    assert!(nowhere.contains("help: write `b`; there are: a, b, c"), "{nowhere}");
}

#[test]
fn the_json_form_carries_place_code_and_help() {
    let project = Project::new(&[("environments/p.yaml", &format!("{MINIMAL}bake: 10\n")), API]);
    let mistakes = project.load("p").unwrap_err().to_json();
    assert_eq!(
        mistakes,
        serde_json::json!([{
            "file": "environments/p.yaml", "line": 4, "column": 7, "severity": "error", "code": "DC0106",
            "message": "`10` has no unit (`bake`)", "why": null, "help": "write `10s`, `10m` or `10h`",
        }])
    );
}

#[test]
fn values_that_no_template_reads_are_a_warning() {
    assert_eq!(
        said("values: {prot: 3}"),
        "warning[DC0125]: `values.prot` is never used
  --> environments/p.yaml:4:10
  |
4 | values: {prot: 3}
  |          ^^^^
  = why: no template reads it; it may be misspelt, or left over
  = help: remove it
"
    );
}

#[test]
fn a_base_is_no_environment_of_its_own() {
    let project = Project::new(&[("environments/base.yaml", "application: app\n")]);
    let said = project.load("base").unwrap_err().to_string();
    assert!(
        said.starts_with("error[DC0127]: `base` names no targets\n  --> environments/base.yaml:1:1\n"),
        "{said}"
    );
}
