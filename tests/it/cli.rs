//! The program as a process: exit codes, what stands on stdout and stderr, and that wrong input writes nothing.

use crate::support::copy;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder of its own with a copy of the shop, removed in the end.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("deployctl-cli-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        copy(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/shop")), &dir);
        Self(dir)
    }

    fn write(&self, path: &str, text: &str) {
        std::fs::write(self.0.join(path), text).unwrap();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs the program with an empty environment and without a terminal.
#[must_use]
fn run(root: &Path, args: &[&str]) -> (i32, String, String) {
    let output: Output = Command::new(env!("CARGO_BIN_EXE_deployctl"))
        .args(args)
        .current_dir(root)
        .env_clear()
        .env("USER", "ana")
        .env("HOME", root)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_shipped_environments_are_right() {
    let (code, stdout, stderr) = run(repository(), &["validate"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.ends_with("0 errors, 0 warnings\n"), "{stdout}");
}

#[test]
fn an_unknown_environment_is_a_usage_error_with_the_nearest_name() {
    let place = Place::new("unknown");
    let (code, stdout, stderr) = run(&place.0, &["canry", "--auto-approve"]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(stderr.contains("canry") && stderr.contains("canary"), "{stderr}");
}

#[test]
fn without_a_cluster_the_context_and_the_rehearsal_are_named() {
    let place = Place::new("nocluster");
    let (code, stdout, stderr) = run(&place.0, &["canary", "--auto-approve"]);
    assert_eq!((code, stdout.as_str()), (3, ""));
    assert!(stderr.contains("east") && stderr.contains("deployctl rehearse canary"), "{stderr}");
}

#[test]
fn a_compose_machine_is_refused_on_a_real_run_with_the_words_not_yet() {
    let (code, _, stderr) = run(repository(), &["dev", "--auto-approve"]);
    assert_eq!(code, 3);
    assert!(stderr.contains("not yet"), "{stderr}");
}

#[test]
fn every_mistake_of_a_file_is_told_at_once_with_its_place() {
    let place = Place::new("mistakes");
    let text = std::fs::read_to_string(place.0.join("environments/canary.yaml")).unwrap();
    let text =
        text.replace("max: 5%", "mx: 5%").replace("weight: 50%", "weight: 10%").replace("[east]]", "[esat]]");
    place.write("environments/canary.yaml", &text);
    let (code, _, stderr) = run(&place.0, &["validate", "canary"]);
    assert_eq!(code, 2);
    for part in ["environments/canary.yaml:", "`mx`", "max", "esat", "east", "10"] {
        assert!(stderr.contains(part), "{part} is missing in {stderr}");
    }
    assert!(stderr.matches("error[").count() >= 3, "{stderr}");
}

#[test]
fn a_rehearsal_prints_the_same_bytes_for_the_same_seed_and_nothing_else_on_stdout() {
    let place = Place::new("json");
    let rehearse = || run(&place.0, &["-o", "json", "rehearse", "canary", "--auto-approve", "--seed", "5"]);
    let (first, second) = (rehearse(), rehearse());
    assert_eq!(first, second);
    let (code, stdout, stderr) = first;
    assert_eq!((code, stderr.as_str()), (0, ""));
    let lines: Vec<serde_json::Value> =
        stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    assert_eq!(lines[0]["type"], "version");
    assert!(lines.iter().all(|line| line["type"].is_string()));
    let finished = lines.iter().find(|line| line["type"] == "run_finished").unwrap();
    assert_eq!(finished["outcome"], "deployed");
}

#[test]
fn a_rehearsed_fault_is_rolled_back_and_its_cause_comes_first() {
    let place = Place::new("fault");
    let args = ["rehearse", "canary", "--auto-approve", "--fault", "crash-loop:api"];
    let (code, stdout, _) = run(&place.0, &args);
    assert_eq!(code, 5, "{stdout}");
    let end = stdout.split("\n\n").last().unwrap();
    assert!(end.starts_with('✗') && end.contains("crashes again and again"), "{end}");
    assert!(end.contains("serves again, all"), "{end}");
}

#[test]
fn a_wrong_fault_is_a_usage_error() {
    let place = Place::new("wrongfault");
    let (code, _, stderr) = run(&place.0, &["rehearse", "canary", "--auto-approve", "--fault", "crush-loop"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("error[DC0711]") && stderr.contains("--list-faults"), "{stderr}");
}

#[test]
fn a_campaign_of_no_stories_is_a_usage_error() {
    let place = Place::new("nostories");
    let (code, stdout, stderr) = run(&place.0, &["rehearse", "canary", "--campaign", "0"]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(stderr.contains("--campaign") && stderr.contains('0'), "{stderr}");
}

#[test]
fn a_hold_can_be_cut_short_in_a_rehearsal() {
    let place = Place::new("cut");
    let rehearse =
        |longest| run(&place.0, &["rehearse", "canary", "--auto-approve", "--longest-hold", longest]);
    let (code, stdout, _) = rehearse("20s");
    assert_eq!(code, 0, "{stdout}");
    assert!(stdout.contains("hold 20 % for 20s") && !stdout.contains("for 1m"), "{stdout}");
    let (code, _, stderr) = rehearse("soon");
    assert_eq!(code, 2);
    assert!(stderr.contains("error[DC0706]") && stderr.contains("--longest-hold 2m"), "{stderr}");
}

#[test]
fn without_a_terminal_nobody_can_say_yes() {
    let place = Place::new("noterminal");
    let (code, _, stderr) = run(&place.0, &["rehearse", "canary"]);
    assert_eq!(code, 8);
    assert!(stderr.contains("--auto-approve"), "{stderr}");
}

#[test]
fn an_interrupted_rehearsal_says_how_to_go_on() {
    let place = Place::new("interrupt");
    let (code, stdout, _) = run(&place.0, &["rehearse", "canary", "--auto-approve", "--interrupt-at", "2m"]);
    assert_eq!(code, 130);
    assert!(
        stdout.contains("deployctl resume canary") && stdout.contains("deployctl rollback canary"),
        "{stdout}"
    );
}

#[test]
fn a_plan_file_that_is_none_is_refused_by_name() {
    let place = Place::new("planfile");
    place.write("odd.plan", "{\"format\": 99}");
    let (code, _, stderr) = run(&place.0, &["canary", "--plan", "odd.plan", "--auto-approve"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("error[DC0310]") && stderr.contains("its format is 99"), "{stderr}");
    let (code, _, stderr) = run(&place.0, &["canary", "--plan", "absent.plan", "--auto-approve"]);
    assert_eq!(code, 2, "{stderr}");
}

#[test]
fn a_cluster_that_does_not_answer_is_named() {
    let place = Place::new("silent");
    place.write("kubeconfig", KUBECONFIG);
    let output = Command::new(env!("CARGO_BIN_EXE_deployctl"))
        .args(["canary", "--auto-approve"])
        .current_dir(&place.0)
        .env_clear()
        .env("KUBECONFIG", place.0.join("kubeconfig"))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("127.0.0.1:9"), "{stderr}");
}

const KUBECONFIG: &str = "
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: 'http://127.0.0.1:9'}}]
users: [{name: u, user: {}}]
contexts:
  - {name: east, context: {cluster: c, user: u}}
  - {name: west, context: {cluster: c, user: u}}
current-context: east
";

#[test]
fn explain_knows_every_code_that_is_told() {
    let place = Place::new("explain");
    let (code, stdout, _) = run(&place.0, &["explain", "DC0612"]);
    assert_eq!(code, 0);
    assert!(stdout.starts_with("DC0612: somebody else holds the lock\n"), "{stdout}");
    let (code, _, stderr) = run(&place.0, &["explain", "DC9999"]);
    assert_eq!(code, 2, "{stderr}");
}

#[test]
fn the_schema_is_the_shipped_one() {
    let (code, stdout, _) = run(repository(), &["schema"]);
    assert_eq!(code, 0);
    let shipped = std::fs::read_to_string(repository().join("schema/environment.schema.json")).unwrap();
    assert_eq!(stdout, shipped);
}

#[test]
fn completions_name_the_commands() {
    let (code, stdout, _) = run(repository(), &["completions", "bash"]);
    assert_eq!(code, 0);
    assert!(stdout.contains("rehearse"));
}

#[test]
fn a_frozen_environment_refuses_before_anything_else_and_says_when_it_opens() {
    let place = Place::new("frozen");
    let text = std::fs::read_to_string(place.0.join("environments/canary.yaml")).unwrap();
    let freeze =
        "freeze: [{from: 2020-01-01, to: 2999-01-01T00:00, reason: museum, time_zone: Europe/Berlin}]\n";
    place.write("environments/canary.yaml", &format!("{text}{freeze}"));
    let (code, stdout, stderr) = run(&place.0, &["canary", "--auto-approve"]);
    assert_eq!((code, stdout.as_str()), (3, ""));
    for part in ["DC0634", "museum", "Tue 2999-01-01 00:00 CET", "deployctl canary --override-freeze REASON"]
    {
        assert!(stderr.contains(part), "{part} is missing in {stderr}");
    }
    // With a reason it goes on, as far as there is a cluster; a rehearsal only warns.
    let (_, _, stderr) = run(&place.0, &["canary", "--auto-approve", "--override-freeze", "fire"]);
    assert!(stderr.contains("DC0605"), "{stderr}");
    let (code, stdout, _) = run(&place.0, &["rehearse", "canary", "--auto-approve"]);
    assert_eq!(code, 0);
    assert!(stdout.contains("frozen until Tue 2999-01-01 00:00 CET: museum"), "{stdout}");
}

#[test]
fn a_calendar_with_mistakes_is_told_so_with_its_places() {
    let place = Place::new("calendar");
    let text = std::fs::read_to_string(place.0.join("environments/canary.yaml")).unwrap();
    let calendar = "freeze: [{from: 2026-12-20, to: 2026-12-01, reason: x}, {to: soon, reason: y}]\n\
        allowed: {time_zone: Europe/Berlim, days: [mon-thr], hours: 9-5}\nprofile: brave\n";
    place.write("environments/canary.yaml", &format!("{text}{calendar}"));
    let (code, _, stderr) = run(&place.0, &["validate", "canary"]);
    assert_eq!(code, 2);
    for part in ["ends before it begins", "has no `from`", "Europe/Berlin", "mon-thr", "`9-5`", "careful"] {
        assert!(stderr.contains(part), "{part} is missing in {stderr}");
    }
}

#[test]
fn a_rehearsed_operator_pauses_resumes_and_aborts() {
    let place = Place::new("operator");
    let rehearse = |asks: &[&str]| {
        let args = ["rehearse", "canary", "--auto-approve"];
        run(&place.0, &args.iter().chain(asks).copied().collect::<Vec<_>>())
    };
    let (code, stdout, _) = rehearse(&["--ask", "pause@2m", "--ask", "resume@30m"]);
    assert_eq!(code, 0, "{stdout}");
    assert!(stdout.contains("! pause, asked by operator@elsewhere"), "{stdout}");
    assert!(stdout.contains("paused by operator@elsewhere"), "{stdout}");
    let (code, stdout, _) = rehearse(&["--ask", "abort@2m"]);
    assert_eq!(code, 5, "{stdout}");
    assert!(stdout.contains("aborted by operator@elsewhere"), "{stdout}");
    let (code, _, stderr) = rehearse(&["--ask", "stop@2m"]);
    assert!(code == 2 && stderr.contains("promote-full"), "{stderr}");
}

#[test]
fn what_works_from_records_needs_the_environment_alone() {
    let place = Place::new("records");
    std::fs::remove_dir_all(place.0.join("manifests")).unwrap();
    for command in ["status", "history", "promote", "pause", "approve", "abort", "resume", "rollback"] {
        let (code, _, stderr) = run(&place.0, &[command, "canary"]);
        assert!(code == 3 && stderr.contains("DC0605"), "{command}: {stderr}");
    }
    let (code, _, stderr) = run(&place.0, &["plan", "canary"]);
    assert!(code == 2 && stderr.contains("manifests"), "{stderr}");
}

#[test]
fn a_target_that_is_left_out_is_looked_up_before_any_cluster_is_asked() {
    let place = Place::new("without");
    for command in [&["plan", "canary"][..], &["canary"], &["rollback", "canary"]] {
        let args: Vec<&str> = command.iter().copied().chain(["--without", "eats"]).collect();
        let (code, stdout, stderr) = run(&place.0, &args);
        assert_eq!((code, stdout.as_str()), (2, ""), "{command:?}: {stderr}");
        assert_eq!(
            stderr,
            "error[DC0704]: canary has no target `eats`\nwhy:   it has: east, west\nnext:  --without east\n",
            "{command:?}"
        );
    }
}
