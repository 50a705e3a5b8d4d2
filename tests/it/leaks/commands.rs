//! The program as a process, with canaries in its environment, its files and its kubeconfig: what it prints and writes.

use super::forms::{FROM_ENV, IN_URL, LIVE, OPEN, REFERRED, clean};
use super::runs::Shop;
use std::path::Path;
use std::process::{Command, Stdio};

const TOKEN: &str = "can4ry-token-Xk3Vw8";
const CLIENT_KEY: &str = "can4ry-clientkey-Jf9";

fn run(root: &Path, args: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_deployctl"))
        .args(args)
        .current_dir(root)
        .env_clear()
        .env("USER", "ana")
        .env("HOME", root)
        .env("KUBECONFIG", root.join("kubeconfig"))
        .env("LEAK_ENV", FROM_ENV)
        .env("RUST_LOG", "trace")
        .env("RUST_BACKTRACE", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.code().unwrap_or(-1), text.join("\n"))
}

fn kubeconfig(root: &Path) {
    let text = format!(
        "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:9'}}}}]\n\
         users: [{{name: u, user: {{token: {TOKEN}}}}}, {{name: k, user: {{username: a, password: {CLIENT_KEY}}}}}]\n\
         contexts:\n- {{name: east, context: {{cluster: c, user: u}}}}\n- {{name: west, context: {{cluster: c, user: k}}}}\n"
    );
    std::fs::write(root.join("kubeconfig"), text).unwrap();
}

#[test]
fn no_command_prints_or_writes_a_secret() {
    let shop = Shop::new("commands");
    let root = &shop.0;
    kubeconfig(root);
    let env = root.join("environments/canary.yaml");
    let text = std::fs::read_to_string(&env).unwrap();
    let with_user = |scheme: &str| format!("{scheme}://ana:{IN_URL}@");
    // The address of a metric store may hold no password; that of an ingress may.
    let lines = text.lines().map(|line| {
        let ingress = line.trim_start().starts_with("ingress:");
        if ingress { line.replace("http://", &with_user("http")) } else { line.to_owned() }
    });
    std::fs::write(&env, lines.collect::<Vec<_>>().join("\n")).unwrap();
    let canaries = [&REFERRED[..], &OPEN[..], &[IN_URL, LIVE, TOKEN, CLIENT_KEY]].concat();
    let commands = [
        &["validate"][..],
        &["-o", "json", "validate", "canary"],
        &["render", "canary"],
        &["-o", "json", "render", "canary"],
        &["plan", "canary", "--out", "saved.plan"],
        &["-vvv", "preflight", "canary"],
        &["-o", "json", "-vvv", "canary", "--auto-approve"],
        &["status", "canary"],
        &["history", "canary"],
        &["show", "canary"],
        &["smoke", "canary"],
        &["metrics", "canary"],
        &["rollback", "canary", "--auto-approve"],
        &["resume", "canary", "--auto-approve"],
        &["abort", "canary"],
        &["lock", "status", "canary"],
        &["-v", "rehearse", "canary", "--auto-approve", "--record", "picture.svg"],
        &["-o", "json", "rehearse", "canary", "--auto-approve", "--fault", "crash-loop:api"],
        &["explain", "DC0312"],
    ];
    // Side by side: most of their time they ask a server that is not there once more.
    let said: Vec<(i32, String)> = std::thread::scope(|scope| {
        let running: Vec<_> = commands.iter().map(|args| scope.spawn(move || run(root, args))).collect();
        running.into_iter().map(|one| one.join().unwrap()).collect()
    });
    for (args, (_, text)) in commands.iter().zip(&said) {
        assert!(!text.trim().is_empty(), "{args:?} says nothing");
        clean(&format!("{args:?}"), text, &canaries);
    }
    let calm = said.iter().filter(|(code, _)| *code == 0).count();
    assert!(calm >= 5, "only {calm} of the commands did what they are for");
    for name in ["saved.plan", "saved.plan.part", "picture.svg"] {
        let content = std::fs::read(root.join(name)).unwrap_or_default();
        clean(name, &String::from_utf8_lossy(&content), &canaries);
    }
}

#[test]
fn mistakes_in_a_file_with_secrets_are_told_without_them() {
    let shop = Shop::new("mistakes");
    let env = shop.0.join("environments/canary.yaml");
    let text = std::fs::read_to_string(&env).unwrap();
    for secrets in [
        format!("secrets: {{db: {{PASSWORD: {:?}}}}}\n", OPEN[0]),
        format!("secrets:\n  db:\n    PASSWORD: {:?}\n   odd: [\n", OPEN[0]),
        format!("secrets:\n  db: {:?}\n", OPEN[0]),
    ] {
        let head: Vec<&str> = text.lines().filter(|line| !line.starts_with("secrets")).collect();
        std::fs::write(&env, format!("{}\n{secrets}", head.join("\n"))).unwrap();
        let (code, said) = run(&shop.0, &["validate", "canary"]);
        assert_eq!(code, 2, "{said}");
        clean("validate", &said, &OPEN);
    }
}
