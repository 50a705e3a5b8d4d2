//! Real inputs: what is in the repository, what was recorded of a real API server, and the records of a simulated run. For
//! each kind of input some that are known to be mean, which go first and unchanged.

use crate::support::{Told, environment, virtually};
use deployctl::ports::state::RecordKind;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The inputs of a kind.
pub struct Corpus {
    /// To be changed.
    pub real: Vec<Vec<u8>>,
    /// To be taken as they are.
    pub mean: Vec<Vec<u8>>,
}

pub fn of(kind: &str) -> Corpus {
    let real = match kind {
        "environment" => environments(),
        "template" => files(&["manifests", "tests/shop/manifests"]),
        "plan" => records(RecordKind::Plan),
        "journal" => vec![journal()],
        "release" => records(RecordKind::Release),
        "wishes" => vec![WISHES.as_bytes().to_vec()],
        "metrics" => vectors(),
        "exposition" => vec![EXPOSITION.as_bytes().to_vec()],
        "store_answer" => ANSWERS.iter().map(|text| text.as_bytes().to_vec()).collect(),
        "api_answer" => answers(),
        "kubeconfig" => vec![KUBECONFIG.as_bytes().to_vec()],
        "words" => vec![WORDS.as_bytes().to_vec()],
        other => panic!("there is no corpus of {other}"),
    };
    Corpus { real, mean: mean(kind).into_iter().map(String::into_bytes).collect() }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folders: &[&str]) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    let mut found = Vec::new();
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            let mut inside: Vec<PathBuf> =
                std::fs::read_dir(path).unwrap().map(|e| e.unwrap().path()).collect();
            inside.sort();
            paths.extend(inside);
        } else {
            found.push(std::fs::read(path).unwrap());
        }
    }
    found
}

fn environments() -> Vec<Vec<u8>> {
    let base = std::fs::read(root().join("environments/base.yaml")).unwrap();
    let with_base = |own: Vec<u8>| [own, b"\n=== base\n".to_vec(), base.clone()].concat();
    let mut all: Vec<Vec<u8>> = files(&["environments"]).into_iter().map(with_base).collect();
    all.extend(files(&["tests/shop/environments"]));
    all
}

/// Records of a run that failed and went back.
fn records(kind: RecordKind) -> Vec<Vec<u8>> {
    stored(kind).into_iter().map(|(_, _, content)| content).collect()
}

fn journal() -> Vec<u8> {
    let lines = stored(RecordKind::Journal)
        .into_iter()
        .map(|(target, name, content)| format!("{target} {name} {}", String::from_utf8(content).unwrap()));
    lines.collect::<Vec<_>>().join("\n").into_bytes()
}

fn stored(kind: RecordKind) -> Vec<(String, String, Vec<u8>)> {
    virtually(environment("canary"), 5, async |story| {
        story.deploy("1.0.0", &Told::default()).await;
        let mut found = Vec::new();
        for (target, site) in &story.doors.sites {
            for record in site.state.list(kind, "").await.unwrap() {
                found.push((target.to_string(), record.name, record.content));
            }
        }
        found
    })
}

fn vectors() -> Vec<Vec<u8>> {
    let text = std::fs::read(root().join("tests/it/gates/canary_vectors.json")).unwrap();
    let whole: Value = serde_json::from_slice(&text).unwrap();
    let mut one_by_one = Vec::new();
    for vector in whole["vectors"].as_array().unwrap() {
        let mut small = whole.clone();
        let mut vector = vector.clone();
        for list in ["steps", "samples"] {
            if let Some(list) = vector[list].as_array_mut() {
                list.truncate(12);
            }
        }
        small["vectors"] = Value::Array(vec![vector]);
        one_by_one.push(serde_json::to_vec(&small).unwrap());
    }
    one_by_one
}

fn answers() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for name in ["kube_exchanges.jsonl.gz", "kube_watches.jsonl.gz", "kube_discovery.jsonl.gz"] {
        let file = std::fs::File::open(root().join("tests/golden").join(name)).unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
        for line in text.lines() {
            let exchange: Value = serde_json::from_str(line).unwrap();
            let body =
                exchange.pointer("/response/body").or_else(|| exchange.get("body")).unwrap_or(&exchange);
            let bytes = body.as_str().map_or_else(|| body.to_string(), str::to_owned).into_bytes();
            if bytes.len() < 8 * 1024 {
                all.push(bytes);
            }
        }
    }
    all.push(std::fs::read(root().join("tests/golden/kube_openapi.json")).unwrap());
    all
}

const WISHES: &str = r#"[
{"format":1,"id":"a/1","number":1,"run":"r1","epoch":1,"at":"2026-01-05T03:00:00Z","by":{"user":"ana","host":"desk"},"wish":"pause","reason":"x"},
{"format":1,"id":"a/2","number":2,"run":"r1","epoch":1,"at":"2026-01-05T03:00:01Z","by":{"user":"ana","host":"desk"},"wish":{"promote":{"stage":"w1"}}},
{"format":1,"id":"a/3","number":3,"run":"r1","epoch":1,"at":"2026-01-05T03:00:02Z","by":{"user":"ana","host":"desk"},"wish":{"abort":{"superseded_by":"2.0"}}}]"#;

const EXPOSITION: &str = "# HELP http_requests_total Requests.\n# TYPE http_requests_total counter\n\
http_requests_total{method=\"GET\",status=\"200\",path=\"/a\\\"b\\\\\"} 1027 1395066363000\n\
http_requests_total{method=\"GET\",status=\"500\"} 3\nhttp_request_duration_seconds_bucket{le=\"0.05\"} 24054\n\
http_request_duration_seconds_bucket{le=\"0.1\"} 33444\nhttp_request_duration_seconds_bucket{le=\"+Inf\"} 144320\n\
http_request_duration_seconds_sum 53423\nhttp_request_duration_seconds_count 144320\nup 1\n# EOF\n";

const ANSWERS: [&str; 5] = [
    r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"pod":"a"},"value":[1435781451.781,"1"]}]}}"#,
    r#"{"status":"success","data":{"resultType":"scalar","result":[1435781451.781,"0.5"]}}"#,
    r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"http_requests_total","pod":"a","status":"500"},"values":[[1435781430.781,"1"],[1435781445.781,"3"]]},{"metric":{"__name__":"http_request_duration_seconds_bucket","pod":"a","le":"0.1"},"values":[[1435781430.781,"1"],[1435781445.781,"3"]]}]}}"#,
    r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\""}"#,
    "<html><body>502</body></html>",
];

const KUBECONFIG: &str = "apiVersion: v1\nkind: Config\ncurrent-context: east\n\
clusters:\n- name: c\n  cluster: {server: 'https://127.0.0.1:6443', certificate-a-data: aGk=, tls-server-name: x, proxy-url: 'http://127.0.0.1:1'}\n\
users:\n- name: u\n  user: {token: abc, username: a, password: b, client-key-data: aGk=}\n\
contexts:\n- {name: east, context: {cluster: c, user: u, namespace: shop}}\n- {name: west, context: {cluster: c, user: u}}\n";

const WORDS: &str = "1h30m 250ms 10s 2d 0s 1.5h 128Mi 1.5Gi 100m 1e3 2k spec.ports[name=http].port .spec.replicas spec[\"a.b\"] a[0].b";

fn mean(kind: &str) -> Vec<String> {
    match kind {
        "environment" => mean_yaml("application: shop\n"),
        "template" => [mean_yaml("kind: ConfigMap\n"), mean_templates()].concat(),
        "plan" | "release" | "wishes" | "store_answer" | "api_answer" => mean_json(),
        "metrics" => [mean_json(), mean_metrics()].concat(),
        "journal" => mean_json()
            .into_iter()
            .map(|text| format!("east r1.0001.000000 {text}\neast r1.0001.000001 {{}}"))
            .collect(),
        "exposition" => {
            vec!["a{".repeat(50_000), format!("a{{b=\"{}", "\\".repeat(100_000)), "a ".repeat(100_000)]
        }
        "kubeconfig" => mean_yaml("kind: Config\n"),
        "words" => vec![
            "18446744073709551615h 99999999999999999999999d 1h".repeat(50),
            format!("{}m 1{}", "9".repeat(5000), "h1".repeat(5000)),
            "a.".repeat(20_000),
            "a[".repeat(20_000),
        ],
        other => panic!("there is no corpus of {other}"),
    }
}

fn mean_yaml(head: &str) -> Vec<String> {
    let mut bomb = format!("{head}a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let before = format!("*a{}", level - 1);
        let _ = writeln!(bomb, "a{level}: &a{level} [{}]", [before.as_str(); 10].join(", "));
    }
    let deep_block = (0..2000).map(|depth| format!("{}a:", " ".repeat(depth))).collect::<Vec<_>>().join("\n");
    vec![
        bomb.clone(),
        bomb.replace("a0: &a0 [x", "a0: &a0 [y: 1, x").replace('[', "{<<: ["),
        format!("{head}values: {}", "[".repeat(100_000)),
        format!("{head}values: {}", "{a: ".repeat(100_000)),
        format!("{head}{}", "- ".repeat(100_000)),
        format!("{head}{}", "? ".repeat(50_000)),
        format!("{head}{deep_block}"),
        format!("{head}a: &a [*a]"),
        format!("{head}a: &a {{b: *a}}"),
        format!("{head}{}: 1", "k".repeat(1 << 20)),
        format!("{head}version: {}", "9".repeat(1 << 16)),
        format!("{head}a: \"{}\"", "\\x41".repeat(1 << 16)),
        format!("{head}a: |\n{}", "  x\n".repeat(1 << 16)),
        format!("{head}{}", "a: 1\n".repeat(20_000)),
        "\u{feff}\u{feff}---\n---\n%YAML 9.9\n".to_owned(),
    ]
}

fn mean_templates() -> Vec<String> {
    let nest =
        |open: &str, close: &str, depth: usize| format!("{}x{}", open.repeat(depth), close.repeat(depth));
    vec![
        nest("{% for i in range(100000) %}", "{% endfor %}", 3),
        nest("{% for i in range(100000) %}", "{% endfor %}", 30),
        nest("{% if 1 %}", "{% endif %}", 500),
        format!("{{{{ {} }}}}", nest("(", ")", 20_000)),
        format!("{{{{ {} }}}}", nest("[", "]", 20_000)),
        format!("{{{{ {}1 }}}}", "not ".repeat(50_000)),
        format!("{{{{ {}1 }}}}", "-".repeat(50_000)),
        format!("{{{{ 1{} }}}}", " + 1".repeat(50_000)),
        format!("{{{{ 'a'{} }}}}", "|upper".repeat(20_000)),
        "{% macro m(n) %}{{ m(n) }}{{ m(n) }}{% endmacro %}{{ m(1) }}".to_owned(),
        "{% include 'all.yaml' %}{% include 'all.yaml' %}".to_owned(),
        "{% include '_a' %}".to_owned(),
        "{% extends 'all.yaml' %}".to_owned(),
        "{{ 'x' * 10000000000 }}".to_owned(),
        "{{ [1] * 10000000000 }}".to_owned(),
        "{{ 'x' | indent(10000000000) }}".to_owned(),
        "{{ 'x\\ny' | indent(4000000000) }}".to_owned(),
        "{{ 'x' | center(4000000000) }}".to_owned(),
        "{{ '%4000000000d' | format(1) }}".to_owned(),
        "{{ range(0, 9000000000) | list }}".to_owned(),
        "{{ range(100000) | map('string') | join('x' * 100000) }}".to_owned(),
        "{{ 10 ** 10000 }}{{ 2 ** 127 * 2 }}{{ -9223372036854775808 // -1 }}{{ 1 % 0 }}".to_owned(),
        "{% set ns = namespace(a=[]) %}{% for i in range(99999) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a|tojson }}".to_owned(),
        "{{ 'a' | replace('', 'b' * 1000000) }}{{ ('a' * 1000000) | replace('a', 'b' * 1000000) }}".to_owned(),
        "kind: {{ {'a': 1} | toyaml }}{{ 1e400 }}{{ 0x }}".to_owned(),
    ]
}

fn mean_json() -> Vec<String> {
    vec![
        "[".repeat(200_000),
        "{\"a\":".repeat(200_000),
        format!("{{\"format\":1,\"a\":{}", "[".repeat(100_000)),
        "{\"format\":1}".to_owned(),
        "{\"format\":99}".to_owned(),
        "{\"format\":-1}".to_owned(),
        "{\"format\":18446744073709551616}".to_owned(),
        format!("{{\"format\":1,\"at\":\"{}\"}}", "9".repeat(1 << 20)),
        format!("{{\"kind\":\"Status\",\"code\":409,\"message\":\"{}\"}}", "x".repeat(1 << 20)),
        format!("[{}1]", "1,".repeat(1 << 18)),
        String::new(),
    ]
}

fn mean_metrics() -> Vec<String> {
    let block = |t: &str, dt: &str, n: &str, err: &str| {
        format!(
            r#"{{"vectors":[{{"name":"a","phi_err":1,"phi_lat":[],"steps":[{{"t":{t},"dt":{dt},"weight":0.1,"canary":{{"n":{n},"err":{err}}},"control":{{"n":{n},"err":{err}}}}}]}}]}}"#
        )
    };
    let samples = |scrape: &str, start: &str, at: &str| {
        format!(
            r#"{{"vectors":[{{"scrape_s":{scrape},"start":{start},"weight":0.1,"targets":{{"c":{{"arm":"canary","born":0}},"b":{{"arm":"control"}}}},"samples":[{{"t":-4,"target":"b","v":[900,1]}},{{"t":7,"target":"c","v":[35,0]}},{{"t":{at},"target":"b","v":[1240,1]}},{{"t":{at},"target":"c","v":[1e308,1]}}]}}]}}"#
        )
    };
    vec![
        block("15", "15", "1e308", "1e308"),
        block("15", "15", "1e15", "7"),
        block("-1e308", "1e-300", "1e9", "1e8"),
        block("1e308", "1e308", "0", "0"),
        samples("15", "0", "1e18"),
        samples("1e-300", "0", "1e18"),
        samples("1e-9", "0", "1e9"),
        samples("0", "0", "11"),
        samples("15", "-1e308", "1e308"),
    ]
}
