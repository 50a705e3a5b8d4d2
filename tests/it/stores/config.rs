//! Stores in environments: what they become, and every mistake with its place.

use super::Folder;
use deployctl::config::{self, Overrides};
use deployctl::domain::environment::Environment;
use deployctl::domain::gate::Metric;
use deployctl::domain::metric_store::{CloudWatchValue, SecretText, SigV4, StoreAuth};
use deployctl::domain::secret::SecretRef;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// An environment with this Prometheus and these gates, or what is wrong with it.
fn load(prometheus: &str, gates: &str) -> Result<(Environment, String), String> {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let folder = Folder::new(&format!("stores-config-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
    for path in ["environments", "manifests/api"] {
        std::fs::create_dir_all(folder.0.join(path)).unwrap();
    }
    folder.write("manifests/api/a.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}");
    let text = format!(
        "application: shop\nversion: 1.0.0\ntargets:\n  east:\n    cluster: {{context: east}}\n    region: eu-west-1\n    \
         {prometheus}\ncomponents: {{api: {{image: example.com/api, strategy: rolling}}}}\ngates:\n  g: {gates}\n"
    );
    folder.write("environments/p.yaml", &text);
    let loaded = config::load(&folder.0, "p", &Overrides::default());
    let root = folder.0.display().to_string();
    loaded
        .map(|loaded| (loaded.environment, root.clone()))
        .map_err(|wrong| wrong.to_string().replace(&root, "ROOT"))
}

const GATE: &str = "{metric: error_rate, max: 5%}";
const STORE: &str = "prometheus: http://prom";

#[test]
fn a_store_is_read_whole() {
    let (env, root) = load(
        "prometheus: {url: \"https://a\", fallback: [\"https://b\"], basic: {username: ana, password: \"${env:P}\"}, \
         headers: {X-Scope-OrgID: \"a-${env:T}\"}, tls: {ca: ca.pem, cert: c.pem, key: /k.pem, server_name: prom}}",
        GATE,
    )
    .unwrap();
    let store = env.targets[0].prometheus.as_ref().unwrap();
    assert_eq!(store.urls, ["https://a", "https://b"]);
    let password = SecretRef::Env("P".into());
    assert_eq!(store.auth, Some(StoreAuth::Basic { username: "ana".into(), password }));
    assert_eq!(store.headers["X-Scope-OrgID"], SecretText("a-${env:T}".into()));
    let tls = store.tls.as_ref().unwrap();
    let (cert, key) = tls.client.as_ref().unwrap();
    let shown = [tls.ca.as_ref().unwrap(), cert, key].map(|path| path.display().to_string());
    assert_eq!(shown, [format!("{root}/ca.pem"), format!("{root}/c.pem"), "/k.pem".to_owned()]);

    let (env, _) = load("prometheus: {url: \"https://aps\", sigv4: {profile: prod}}", GATE).unwrap();
    let how =
        SigV4 { region: "eu-west-1".into(), service: "aps".into(), profile: Some("prod".into()), role: None };
    assert_eq!(env.targets[0].prometheus.as_ref().unwrap().auth, Some(StoreAuth::SigV4(how)));
    let (env, _) = load("prometheus: {url: \"https://a\", bearer: \"${file:/token}\"}", GATE).unwrap();
    let token = SecretRef::File("/token".into());
    assert_eq!(env.targets[0].prometheus.as_ref().unwrap().auth, Some(StoreAuth::Bearer(token)));
}

#[test]
fn gates_with_a_store_of_their_own_need_no_prometheus() {
    let (env, _) = load(
        "traffic: live",
        "{metric: {cloudwatch: {namespace: N, name: E, stat: p99, dimensions: {V: \"{{ version }}\"}, unit: Milliseconds}}, \
         max: 200, window: 150s}",
    )
    .unwrap();
    let Metric::CloudWatch(query) = &env.gates[0].metric else { panic!("{:?}", env.gates) };
    assert_eq!((env.gates[0].max, query.period), (Some(200.0), Duration::from_mins(2)));
    assert!(matches!(&query.value, CloudWatchValue::Series(series) if series.stat == "p99"));
    let (env, _) = load(
        "traffic: live",
        "{metric: {http: {url: \"https://s/{{ version }}\", headers: {Authorization: \"Bearer ${env:T}\"}, body: \"{}\", \
         value: /a/b}}, min: 3}",
    )
    .unwrap();
    let Metric::Http(query) = &env.gates[0].metric else { panic!("{:?}", env.gates) };
    assert_eq!((query.method.as_str(), query.value.as_str()), ("POST", "/a/b"));
}

/// Rows: Prometheus, gate, and what must be said.
const WRONG: &[(&str, &str, &[&str])] = &[
    (
        "prometheus: {url: \"http://a\", basic: {username: u, password: \"${env:P}\"}, bearer: \"${env:B}\"}",
        GATE,
        &["`basic` and `bearer` both say who asks", "keep `basic` or `bearer`", "p.yaml:7:"],
    ),
    (
        "prometheus: {url: \"http://a\", basic: {username: u, password: literal-secret}}",
        GATE,
        &["`targets.east.prometheus.basic.password` is not a reference to a secret"],
    ),
    (
        "prometheus: http://me:literal-secret@a",
        GATE,
        &["a password stands in the URL", "basic: {username: NAME, password: \"${env:NAME}\"}"],
    ),
    (
        "prometheus: {url: \"http://a\", fallback: [\"http://me:literal-secret@b\", \"http://a/\"]}",
        GATE,
        &["a password stands in the URL", "`http://a/` is there twice"],
    ),
    ("prometheus: {fallback: [\"http://a\"]}", GATE, &["`url` is missing in `targets.east.prometheus`"]),
    (
        "prometheus: {url: \"http://a\", tls: {cert: c.pem}}",
        GATE,
        &["`http://a` is not asked over TLS", "`tls.cert` without `tls.key`", "add `key: PATH`"],
    ),
    (
        "prometheus: {url: \"http://a\", sigv4: {role: admin}, headers: {authorization: \"x\", \"a b\": \"${vault:x}\"}}",
        GATE,
        &[
            "`admin` is not the ARN of a role",
            "`headers` and another key both set `Authorization`",
            "`a b` is not the name of a header",
            "the header `a b` has a reference to no secret",
        ],
    ),
    ("prometheus: {url: \"http://${env:HOST}\"}", GATE, &["a secret reference outside of `secrets`"]),
    (
        STORE,
        "{metric: {cloudwatch: {}, http: {url: \"http://a\", value: /a}}, max: 3}",
        &["measures two things"],
    ),
    (STORE, "{metric: {}, max: 3}", &["gate `g` measures nothing"]),
    (
        STORE,
        "{metric: {cloudwatch: {namespace: N, stat: sum, unit: seconds, queries: {a: {namespace: N, name: E, stat: P}}}}, max: 3}",
        &[
            "nothing uses the query `a`",
            "the metric of gate `g` has no `name`",
            "`P` is not a statistic of CloudWatch",
        ],
    ),
    (
        STORE,
        "{metric: {cloudwatch: {namespace: N, name: E, stat: sum, unit: seconds, period: 90s, requests: all}}, max: 3, window: 1m}",
        &[
            "`sum` is not a statistic of CloudWatch",
            "write `Sum`",
            "`seconds` is not a unit of CloudWatch",
            "`period` is none that CloudWatch keeps",
            "gate `g` looks back less than one `period`",
            "there is no query `all`",
        ],
    ),
    (
        STORE,
        "{metric: {cloudwatch: {expression: a, stat: Sum, queries: {A: {namespace: N, name: E, stat: Sum}}}}, max: 3}",
        &["`stat` says nothing beside `expression`", "`A` cannot be the id of a query"],
    ),
    (
        STORE,
        "{metric: {http: {url: stats, value: data.value, method: GET, body: x}}, max: 3, min_requests: 5}",
        &[
            "`stats` is not a URL",
            "`data.value` is not a JSON pointer",
            "write `/data/value`",
            "a `GET` has no body",
            "has `min_requests`, but nothing that counts requests",
        ],
    ),
    (
        "prometheus: http://prom\nbake: {time: 1m, min_requests: 50}",
        "{metric: {http: {url: \"http://a\", value: /a}}, max: 3}",
        &["the bake waits for 50 requests of `api`, and no gate of it counts requests"],
    ),
    (STORE, "{metric: {http: {url: \"http://a\", value: /a}}}", &["gate `g` has no limit", "add `max: 3`"]),
    (STORE, "{metric: error_rat, max: 5%}", &["`error_rat` is not a metric"]),
];

#[test]
fn every_mistake_is_told_with_its_place_and_no_secret() {
    for (prometheus, gates, parts) in WRONG {
        let Err(said) = load(prometheus, gates) else { panic!("nothing is wrong with {prometheus} {gates}") };
        for part in *parts {
            assert!(said.contains(part), "`{part}` is missing:\n{said}");
        }
        assert!(said.contains("environments/p.yaml:"), "{said}");
        assert!(!said.contains("literal-secret"), "{said}");
    }
}
