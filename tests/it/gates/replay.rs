//! `deployctl metrics --replay`: the vectors to the last block, and odd files.

use serde_json::{Value, json};
use std::io::Write as _;
use std::process::{Command, Stdio};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/gates/canary_vectors.json");

/// Runs the command with this text on standard input.
#[must_use]
fn replay(input: &str, args: &[&str]) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_deployctl"))
        .args(["metrics", "--replay", "-"])
        .args(args)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(input.as_bytes());
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

fn vectors() -> Value {
    serde_json::from_str(&std::fs::read_to_string(VECTORS).unwrap()).unwrap()
}

fn near(name: &str, value: &Value, expected: &Value) {
    let (value, expected) = (value.as_f64().unwrap(), expected.as_f64().unwrap());
    assert!((value - expected).abs() <= 1e-9, "{name}: {value}, not {expected}");
}

#[test]
fn every_log_and_verdict_of_every_block_is_as_recorded() {
    let file = vectors();
    let (code, stdout, stderr) = replay(&file.to_string(), &["--check"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let mut lines = stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut compared = 0;
    for vector in file["vectors"].as_array().unwrap() {
        for (block, step) in vector["steps"].as_array().unwrap().iter().enumerate() {
            let (line, expected) = (lines.next().unwrap(), &step["expect"]);
            assert_eq!((&line["vector"], &line["block"]), (&vector["name"], &json!(block)));
            assert_eq!(line["verdict"], expected["verdict"], "{line}");
            for (name, value) in line["logs"].as_object().unwrap() {
                match value.as_array() {
                    Some(list) => {
                        assert_eq!(list.len(), expected[name].as_array().unwrap().len());
                        for (value, expected) in list.iter().zip(expected[name].as_array().unwrap()) {
                            near(name, value, expected);
                        }
                    }
                    None => near(name, value, &expected[name]),
                }
                compared += 1;
            }
        }
    }
    assert!(lines.next().is_none() && compared > 500, "{compared}");
}

#[test]
fn a_difference_is_named_and_fails_only_a_check() {
    let mut file = vectors();
    file["vectors"][2]["steps"][1]["expect"]["ln_safe"] = json!(7.0);
    assert_eq!(replay(&file.to_string(), &[]).0, 0);
    let (code, stdout, stderr) = replay(&file.to_string(), &["--check"]);
    assert_eq!((code, stdout.lines().count()), (1, replay(&vectors().to_string(), &[]).1.lines().count()));
    assert!(stderr.contains("error[DC0721]"), "{stderr}");
    assert!(stderr.contains("\"three_errors_zero_baseline\", block 1: ln_safe is -1.35"), "{stderr}");
    let mut file = vectors();
    file["burstiness"][1]["phi"] = json!(3.0);
    let (code, _, stderr) = replay(&file.to_string(), &["--check"]);
    assert!(code == 1 && stderr.contains("burstiness[1]: phi is 22.42"), "{stderr}");
    let mut file = vectors();
    file["vectors"][8]["steps"][1]["control"]["n"] = json!(1133.0);
    let (code, _, stderr) = replay(&file.to_string(), &["--check"]);
    assert!(code == 1 && stderr.contains("block 1: control.n is 1133.46"), "{stderr}");
}

#[test]
fn parameters_and_thresholds_of_the_file_count() {
    let step = json!({"t": 15, "dt": 15, "weight": 0.1, "canary": {"n": 7, "err": 2}, "control": {"n": 67, "err": 0}});
    let verdict = |head: Value| {
        let mut file = head;
        file["vectors"] = json!([{"name": "v", "steps": [step]}]);
        let (code, stdout, stderr) = replay(&file.to_string(), &["--check"]);
        assert_eq!((code, stderr.as_str()), (0, ""));
        serde_json::from_str::<Value>(stdout.trim()).unwrap()["verdict"].clone()
    };
    assert_eq!(verdict(json!({})), "hold_suspicious");
    assert_eq!(verdict(json!({"params": {"alpha": 0.2}})), "rollback");
    assert_eq!(verdict(json!({"thresholds": {"rollback": 1.0}})), "rollback");
    assert_eq!(verdict(json!({"params": {"suspicious": 1e9}})), "continue");
}

#[test]
fn what_is_wrong_is_named_with_vector_block_and_field_and_the_others_are_judged() {
    let good = r#"{"t":15,"dt":15,"weight":0.1,"canary":{"n":75,"err":0},"control":{"n":675,"err":1}}"#;
    let with = |from: &str, to: &str| good.replacen(from, to, 1);
    let cases = [
        (with("\"n\":75", "\"n\":-75"), "block 1: canary.n is negative: -75"),
        (with("\"n\":675", "\"n\":1e999"), "block 1: control.n is no number that fits: 1e999"),
        (with("\"err\":1", "\"err\":\"many\""), "block 1: control.err is no number that fits"),
        (with(",\"err\":1", ""), "block 1: control.err is missing"),
        (with("\"dt\":15", "\"dt\":-1"), "block 1: dt is negative"),
        (with("\"dt\":15,", ""), "block 1: dt is missing"),
        (with("0.1", "1.5"), "block 1: weight is 1.5, above 1"),
        (with("\"canary\"", "\"canari\""), "block 1: canary is missing"),
        (with("\"err\":0", "\"err\":0,\"slow\":[1]"), "block 1: canary.slow has 1 values, phi_lat says 0"),
        ("7".to_owned(), "block 1: is no object: 7"),
    ];
    for (step, message) in cases {
        let file = format!(
            r#"{{"vectors":[{{"name":"odd","steps":[{good},{step}]}},{{"name":"well","steps":[{good}]}}]}}"#
        );
        let (code, stdout, stderr) = replay(&file, &[]);
        assert_eq!(code, 2, "{stderr}");
        assert!(stderr.contains(&format!("vector \"odd\": {message}")), "{message}: {stderr}");
        assert!(stdout.starts_with(r#"{"vector":"well","block":0,"#), "{stdout}");
    }
}

#[test]
fn samples_that_fit_nothing_are_named_too() {
    let file = |sample: &str| {
        format!(
            r#"{{"vectors":[{{"name":"raw","phi_lat":[1],"targets":{{"c":{{"arm":"canary","born":0}},"b":{{"arm":"control"}}}},"samples":[{sample}]}}]}}"#
        )
    };
    let cases = [
        (r#"{"t":1,"target":"x","v":[1,0,1]}"#, "sample 0: target \"x\" is not among targets"),
        (r#"{"t":1,"target":"c","v":[1,0]}"#, "sample 0: v has 2 values, not 3 or 4"),
        (r#"{"target":"c","v":[1,0,1]}"#, "sample 0: t is missing"),
        (r#"{"t":1,"target":"c","v":[1,{},1]}"#, "sample 0: v[1] is no number that fits: {}"),
    ];
    for (sample, message) in cases {
        let (code, _, stderr) = replay(&file(sample), &[]);
        assert!(code == 2 && stderr.contains(message), "{message}: {stderr}");
    }
    let odd = r#"{"t":1,"target":"b","v":[1,0,1]},{"t":9,"target":"b","v":[91,0,91]},{"t":5,"target":"c","v":[50,null,40]},{"t":6,"target":"c","v":[60,-1,40]},{"t":7,"target":"c","v":[70,90,40,69]}"#;
    let (code, stdout, stderr) = replay(&file(odd), &[]);
    assert_eq!((code, stderr.as_str(), stdout.lines().count()), (0, "", 1), "{stdout}");
}

#[test]
fn odd_numbers_are_judged_and_odd_files_refused() {
    let odd = r#"{"vectors":[{"steps":[
        {"t":0,"dt":0,"weight":0,"canary":{"n":1e300,"err":5e300},"control":{"n":1e-300,"err":1}},
        {"t":-5,"dt":1e300,"weight":1,"canary":{"n":0.5,"err":0.25},"control":{"n":1e308,"err":1e308}},
        {"t":1e308,"dt":0,"canary":{"n":0,"err":9},"control":{"n":0,"err":0}}]},
        {"name":"none","steps":[]}]}"#;
    let (code, stdout, stderr) = replay(odd, &["--check"]);
    assert_eq!((code, stderr.as_str(), stdout.lines().count()), (0, "", 3));
    assert!(!stdout.contains("null"), "{stdout}");
    let files = [
        ("", "it is no JSON object with `vectors`"),
        ("[]", "it is no JSON object with `vectors`"),
        ("{}", "`vectors` is missing"),
        (r#"{"vectors":7}"#, "`vectors` as a list"),
        (r#"{"vectors":[{"name":"a"}]}"#, "vector \"a\": neither steps nor samples are there"),
        (r#"{"vectors":[{"name":"a""#, "vectors[0] is no JSON"),
        (r#"{"vectors":[],"params":{}}"#, "`params` must stand before `vectors`"),
        (r#"{"params":{"alpha":0},"vectors":[]}"#, "params: alpha is 0, not within"),
        (r#"{"params":{"mult":[2]},"vectors":[]}"#, "params.mult has 1 values, not 5"),
        (r#"{"vectors":[{"name":"a","phi_err":0.5,"steps":[]}]}"#, "phi_err is 0.5, not within 1"),
    ];
    for (file, message) in files {
        let (code, _, stderr) = replay(file, &[]);
        assert!(code == 2 && stderr.contains(message), "{file}: {message}: {stderr}");
    }
    let (code, _, stderr) = replay(r#"{"params":{"alfa":0.1},"vectors":[]}"#, &[]);
    assert_eq!((code, stderr.as_str()), (0, "warning: params.alfa is not known and not used\n"));
}
