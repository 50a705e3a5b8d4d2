//! Whole commands as a user starts them: wall time and peak memory, printed beside what was promised.
//!
//! `cargo bench` builds the release binary and runs this. Nothing is asserted: machines differ. The last column is the
//! ratio to starting the process at all (`--version`), which travels better than seconds.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const RUNS: usize = 9;

struct Measured {
    median: Duration,
    fastest: Duration,
    peak_kib: u64,
}

#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// Highest resident memory of a process so far, from its `VmHWM`.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.and_then(|line| line.split_whitespace().nth(1)).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn once(args: &[&str]) -> (Duration, u64) {
    let began = now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_deployctl"))
        .args(args)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary was built beside this");
    let mut highest = 0;
    loop {
        highest = highest.max(peak(child.id()));
        match child.try_wait().expect("a child can be waited for") {
            Some(_) => return (began.elapsed(), highest),
            None => std::hint::spin_loop(),
        }
    }
}

fn measure(args: &[&str]) -> Measured {
    let _warm_up = once(args);
    let mut times = Vec::new();
    let mut peak_kib = 0;
    for _ in 0..RUNS {
        let (time, kib) = once(args);
        times.push(time);
        peak_kib = peak_kib.max(kib);
    }
    times.sort();
    Measured { median: times[RUNS / 2], fastest: times[0], peak_kib }
}

fn main() {
    // `cargo test --benches` builds and starts benchmarks too: measuring is for `cargo bench`.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let cases: [(&str, &[&str], &str); 4] = [
        ("--version", &["--version"], "10 ms"),
        ("validate", &["validate"], "50 ms"),
        ("rehearse production", &["rehearse", "production", "--auto-approve"], "300 ms, 64 MiB"),
        ("rehearse staging", &["rehearse", "staging", "--auto-approve"], ""),
    ];
    println!("{:<22} {:>10} {:>10} {:>10}  {:<16} ratio", "command", "median", "fastest", "peak", "promised");
    let mut start = Duration::from_millis(1);
    for (name, args, promised) in cases {
        let measured = measure(args);
        if name == "--version" {
            start = measured.median;
        }
        println!(
            "{name:<22} {:>7.1} ms {:>7.1} ms {:>6.1} MiB  {promised:<16} {:.1}",
            measured.median.as_secs_f64() * 1e3,
            measured.fastest.as_secs_f64() * 1e3,
            measured.peak_kib as f64 / 1024.0,
            measured.median.as_secs_f64() / start.as_secs_f64(),
        );
    }
}
