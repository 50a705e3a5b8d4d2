//! A guard inside the cluster: its objects, and that its rights are what it needs.

use super::{Sealed, alerts, begin, doors, has_acted, watching};
use crate::support::{Story, Told, virtually};
use deployctl::adapters::clock::SystemClock;
use deployctl::config::{self, Overrides};
use deployctl::domain::ids::TargetId;
use deployctl::ports::Clock as _;
use deployctl::run::unfinished;
use http::Request;
use kube::client::Body;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tower::ServiceExt as _;

/// Namespace, group, resource, verb.
type Right = (String, String, String, String);

/// The shop's files, with this guard in every environment.
fn place(name: &str) -> PathBuf {
    let root = std::env::temp_dir().join(format!("deployctl-guard-{name}-{}", std::process::id()));
    let shop = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/shop"));
    let _ = std::fs::remove_dir_all(&root);
    for folder in ["environments", "manifests/api", "manifests/web", "manifests/worker", "manifests/parts"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
        for entry in std::fs::read_dir(shop.join(folder)).unwrap().map(Result::unwrap) {
            std::fs::copy(entry.path(), root.join(folder).join(entry.file_name())).unwrap();
        }
    }
    let base = root.join("environments/canary.yaml");
    let text = std::fs::read_to_string(&base).unwrap();
    std::fs::write(
        base,
        format!("{text}guard: {{after: 30s, image: example.com/deployctl:1.0.0}}\nsecrets: {{login: {{KEY: \"${{env:LOGIN}}\"}}}}\n"),
    )
    .unwrap();
    root
}

fn run(root: &Path, args: &[&str]) -> (i32, String, String) {
    let program = env!("CARGO_BIN_EXE_deployctl");
    let output =
        Command::new(program).args(args).current_dir(root).env_clear().env("HOME", root).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

fn objects(root: &Path, shop: &str) -> Vec<Value> {
    let (code, out, err) = run(root, &["guard", shop, "--manifest", "--target", "east"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    out.split("---\n")
        .filter(|text| !text.trim().is_empty())
        .map(|text| serde_saphyr::from_str(text).unwrap())
        .collect()
}

fn of<'o>(objects: &'o [Value], kind: &str) -> Vec<&'o Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

fn rights(objects: &[Value]) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    let words = |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).unwrap() };
    for role in of(objects, "Role") {
        for rule in role["rules"].as_array().unwrap() {
            for (group, resource) in words(&rule["apiGroups"]).into_iter().zip(words(&rule["resources"])) {
                for verb in words(&rule["verbs"]) {
                    let namespace = role["metadata"]["namespace"].as_str().unwrap().to_owned();
                    rights.insert((namespace, group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    rights
}

/// What a request asks for; nothing for what every account may read (versions and resources).
fn right(request: &Request<Body>) -> Option<Right> {
    let path = request.uri().path().trim_start_matches('/');
    let parts: Vec<&str> = path.split('/').collect();
    let (group, rest) = match parts.as_slice() {
        ["api", "v1", rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => return None,
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
        rest => ("", rest),
    };
    let (resource, name, sub) = match rest {
        [] => return None,
        [resource] => (*resource, None, None),
        [resource, name] => (*resource, Some(*name), None),
        [resource, name, sub, ..] => (*resource, Some(*name), Some(*sub)),
    };
    let watch =
        request.uri().query().is_some_and(|query| query.contains("watch=true") || query.contains("watch=1"));
    let verb = match (request.method().as_str(), name) {
        ("GET", None) if watch => "watch",
        ("GET", None) => "list",
        ("GET", Some(_)) => "get",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", _) => "delete",
        other => panic!("{other:?}"),
    };
    let resource = sub.map_or_else(|| resource.to_owned(), |sub| format!("{resource}/{sub}"));
    Some((namespace.to_owned(), group.to_owned(), resource, verb.to_owned()))
}

/// What a guard in the east asked for, over crashes at many moments.
fn asked(root: &Path, shop: &'static str) -> BTreeSet<Right> {
    let asked: Arc<Mutex<BTreeSet<Right>>> = Arc::default();
    let mut acted = 0;
    let loaded = |name: &str| config::load(root, name, &Overrides::default()).unwrap().environment;
    for at in (2..56).step_by(6) {
        virtually(loaded(shop), 17, async |story: &Story| {
            begin(story).await;
            super::dies_at(story, at, true);
            let world = doors(story, 41, &["east"], |target| {
                let (api, log) = (story.world.api(target), Arc::clone(&asked));
                let service = tower::service_fn(move |request: Request<Body>| {
                    log.lock().unwrap().extend(right(&request));
                    api.clone().oneshot(request)
                });
                kube::Client::new(service, "default")
            });
            let told = Told::default();
            tokio::select! {
                biased;
                () = async {
                    story.deploy("1.1.0", &Told::default()).await;
                    tokio::time::sleep(Duration::from_secs(150)).await;
                } => {}
                () = watching(story, &world, "east-1", &told) => unreachable!("a guard watches on"),
            }
            acted += usize::from(has_acted(&told));
            assert!(alerts(&told).iter().all(|(level, _)| level != "critical"), "{:?}", alerts(&told));
            if let Some(run) = unfinished::latest(&story.doors).await.unwrap()
                && run.plan.version == "1.1.0"
            {
                assert!(
                    run.plan.objects.iter().any(|object| object.kind() == "Secret"),
                    "there is a secret to be kept from"
                );
            }
        });
    }
    assert!(acted > 2, "{shop}: {acted}");
    let asked = asked.lock().unwrap();
    asked.clone()
}

/// The guard reads no secret (its world panics if it does), and asks for nothing that its Roles do not grant.
#[test]
fn the_rights_are_those_that_are_needed() {
    let _: Sealed = Sealed;
    let root = place("rights");
    for shop in ["canary", "nginx", "gateway", "istio", "alb"] {
        let objects = objects(&root, shop);
        let granted = rights(&objects);
        let asked = asked(&root, shop);
        let lacking: Vec<_> = asked.difference(&granted).filter(|right| !is_optional(right)).collect();
        assert_eq!(lacking, Vec::<&Right>::new(), "{shop}");
        assert!(
            granted.iter().all(|right| ![&right.1, &right.2, &right.3].iter().any(|word| word.contains('*')))
        );
        // Secrets of the release are out of reach altogether.
        assert!(
            granted.iter().all(|right| right.2 != "secrets" || right.0 == "deployctl-state"),
            "{shop}: {granted:?}"
        );
        let idle: BTreeSet<String> =
            granted.difference(&asked).map(|right| format!("{} {}", right.3, right.2)).collect();
        eprintln!("{shop}: granted and not asked for in these crashes: {idle:?}");
    }
    let _ = std::fs::remove_dir_all(root);
}

/// Watches of kinds that the shop does not move; the watch does without those that it may not see.
fn is_optional(right: &Right) -> bool {
    let kinds = ["statefulsets", "daemonsets", "jobs"];
    kinds.contains(&right.2.as_str()) && ["list", "watch"].contains(&right.3.as_str())
}

#[test]
fn the_objects_run_a_guard_of_one_cluster_without_secrets() {
    let root = place("objects");
    let objects = objects(&root, "canary");
    let kinds: BTreeMap<String, usize> = objects.iter().fold(BTreeMap::new(), |mut kinds, object| {
        *kinds.entry(object["kind"].as_str().unwrap().to_owned()).or_default() += 1;
        kinds
    });
    let expected = [
        ("ConfigMap", 1),
        ("Deployment", 1),
        ("Namespace", 1),
        ("Role", 2),
        ("RoleBinding", 2),
        ("ServiceAccount", 1),
    ];
    assert_eq!(kinds, expected.into_iter().map(|(kind, count)| (kind.to_owned(), count)).collect());
    let text = of(&objects, "ConfigMap")[0]["data"]["environment.yaml"].as_str().unwrap();
    assert!(!text.contains("LOGIN") && !text.contains("secrets"), "{text}");
    // What is mounted is an environment that the guard can read, and no more of it.
    let mounted = root.join("mounted");
    std::fs::create_dir_all(mounted.join("environments")).unwrap();
    std::fs::write(mounted.join("environments/canary.yaml"), text).unwrap();
    let overrides = Overrides { records_only: true, ..Overrides::default() };
    let env = config::load(&mounted, "canary", &overrides).unwrap().environment;
    assert_eq!((env.application.as_str(), env.state_namespace.as_str()), ("shop", "deployctl-state"));
    assert_eq!(
        env.targets.iter().map(|target| target.id.clone()).collect::<Vec<_>>(),
        [TargetId::from("east")]
    );
    assert_eq!(env.limits.lease, Duration::from_secs(30));
    assert_eq!(env.guard.as_ref().unwrap().after, Duration::from_secs(30));
    let pod = &of(&objects, "Deployment")[0]["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], json!(true));
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], json!(true));
    let command: Vec<String> = serde_json::from_value(container["command"].clone()).unwrap();
    assert_eq!(
        command.join(" "),
        "deployctl -C /etc/deployctl guard canary --target east --heartbeat-file /run/deployctl/heartbeat --in-cluster --output json"
    );
    // The command is one that the program takes: outside of a pod it ends for want of the pod's account.
    let mut args: Vec<&str> = command[1..].iter().map(String::as_str).collect();
    args[1] = mounted.to_str().unwrap();
    let (code, out, _) = run(&root, &args);
    assert_eq!(code, 3, "{out}");
    assert!(out.contains("the credentials of a pod cannot be used"), "{out}");
    // And so is that of the probes.
    let probe: Vec<String> =
        serde_json::from_value(container["livenessProbe"]["exec"]["command"].clone()).unwrap();
    let mut args: Vec<&str> = probe[1..].iter().map(String::as_str).collect();
    let heartbeat = root.join("heartbeat");
    args[1] = mounted.to_str().unwrap();
    let place = args.iter().position(|arg| *arg == "/run/deployctl/heartbeat").unwrap();
    args[place] = heartbeat.to_str().unwrap();
    assert_eq!(run(&root, &args).0, 1, "it never beat");
    std::fs::write(&heartbeat, SystemClock.now().to_string()).unwrap();
    assert_eq!(run(&root, &args).0, 0);
    std::fs::write(&heartbeat, "2026-01-01T00:00:00Z").unwrap();
    assert_eq!(run(&root, &args).0, 1, "long ago");
    let _ = std::fs::remove_dir_all(root);
}

#[test]
fn what_cannot_be_is_said_with_what_to_write() {
    let root = place("wrong");
    let (code, _, err) = run(&root, &["guard", "canary", "--manifest"]);
    assert_eq!(code, 2);
    assert!(err.contains("deployctl guard canary --manifest --target east"), "{err}");
    let base = root.join("environments/canary.yaml");
    let text = std::fs::read_to_string(&base).unwrap();
    for (guard, code, says) in [
        ("guard: true", 0, ""),
        ("guard: false", 0, ""),
        ("guard: required", 0, ""),
        ("guard: {after: 30s, required: true}", 0, ""),
        ("guard: {image: example.com/deployctl}", 2, "`example.com/deployctl:1.0.0`"),
        ("guard: {after: 30}", 2, "30s"),
        ("guard: {imag: x:1}", 2, "image"),
        ("guard: requird", 2, "required"),
    ] {
        let lines = text.lines().map(|line| if line.starts_with("guard:") { guard } else { line });
        let lines: Vec<&str> = lines.filter(|line| !line.starts_with("secrets:")).collect();
        std::fs::write(&base, lines.join("\n")).unwrap();
        let (found, out, err) = run(&root, &["validate", "canary"]);
        assert_eq!(found, code, "{guard}: {out}{err}");
        assert!(format!("{out}{err}").contains(says), "{guard}: {out}{err}");
    }
    std::fs::write(&base, text.replace(", image: example.com/deployctl:1.0.0", "")).unwrap();
    let (code, _, err) = run(&root, &["guard", "canary", "--manifest", "--target", "east"]);
    assert_eq!(code, 2);
    assert!(err.contains("guard: {image:"), "{err}");
    let _ = std::fs::remove_dir_all(root);
}
