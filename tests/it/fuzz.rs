//! Bad input at scale, quickly: a corpus of real inputs, changed by a seeded generator, goes through the same functions as
//! the targets of `fuzz/` (`cargo fuzz`), which search on for as long as one likes.
//!
//! Each kind of input runs in a process of its own with little memory, so that a stack that overflows, an allocation
//! without bound or a loop without end ends that process, and the test names the input instead of dying with it. The limit
//! of time is a guard against endless loops, many times as long as a round takes. `FUZZ_ROUNDS=100` makes a hundred times
//! as many changes; `FUZZ_SEED` makes others.

mod corpus;
mod entry;
mod mutate;

use mutate::Rng;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// What one input may take before it counts as one without end.
const ENDLESS: Duration = Duration::from_mins(2);
/// Address space of a process, in KiB: code, runtime and a bounded amount of work.
const MEMORY_KIB: u64 = 1_500_000;

/// Kinds of inputs, and how many changed ones a round tries.
const KINDS: [(&str, u64); 12] = [
    ("environment", 150),
    ("template", 100),
    ("plan", 80),
    ("journal", 60),
    ("release", 150),
    ("wishes", 800),
    ("metrics", 200),
    ("exposition", 800),
    ("store_answer", 800),
    ("api_answer", 70),
    ("kubeconfig", 150),
    ("words", 800),
];

fn scratch(kind: &str) -> PathBuf {
    std::env::temp_dir().join(format!("deployctl-fuzz-input-{kind}-{}", std::process::id()))
}

/// Starts a process for a kind and says what became of it.
fn campaign(kind: &str) {
    let input = scratch(kind);
    let this = std::env::current_exe().unwrap();
    let limited = format!("ulimit -v {MEMORY_KIB}; exec \"$0\" \"$@\"");
    let mut child = Command::new("sh")
        .args(["-c", &limited])
        .arg(this)
        .args(["fuzz::worker", "--exact", "--ignored", "--nocapture"])
        .env("FUZZ_KIND", kind)
        .env("RUST_BACKTRACE", "0")
        .env("FUZZ_INPUT", &input)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let reading = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = std::io::Read::read_to_end(&mut stderr, &mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let process = child.id();
    let watched = input.clone();
    let guard = std::thread::spawn(move || {
        // An input that is still the same one after so long has no end.
        let mut last = std::fs::read(&watched).ok();
        while receiver.recv_timeout(ENDLESS) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let now = std::fs::read(&watched).ok();
            if now == last {
                let _ = Command::new("kill").args(["-9", &process.to_string()]).status();
                return true;
            }
            last = now;
        }
        false
    });
    let status = child.wait().unwrap();
    drop(sender);
    let endless = guard.join().unwrap();
    let said = reading.join().unwrap();
    let bytes = std::fs::read(&input).unwrap_or_default();
    if status.success() {
        let _ = std::fs::remove_file(&input);
        return;
    }
    let shown: String = String::from_utf8_lossy(&bytes).chars().take(600).collect();
    let how = if endless { "has no end".to_owned() } else { status.to_string() };
    let tail: Vec<&str> = said.lines().rev().take(12).collect();
    let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
    panic!("{kind}: {how}\ninput in {} ({} bytes):\n{shown}\n\n{tail}", input.display(), bytes.len());
}

/// The process of a kind: every input is on disk before it is tried.
#[test]
#[ignore = "a process of the tests beside it"]
fn worker() {
    let Ok(kind) = std::env::var("FUZZ_KIND") else { return };
    let input = PathBuf::from(std::env::var("FUZZ_INPUT").unwrap());
    // As much as a main thread has: a nesting that is refused in time must not hang on the depth of a test's stack.
    let thread = std::thread::Builder::new().stack_size(8 << 20).spawn(move || work(&kind, &input)).unwrap();
    thread.join().unwrap();
}

fn work(kind: &str, input: &Path) {
    let number = |name: &str, otherwise: u64| {
        std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise)
    };
    let (_, entry) = entry::ALL.iter().find(|(name, _)| *name == kind).unwrap();
    let (_, count) = KINDS.iter().find(|(name, _)| *name == kind).unwrap();
    let corpus = corpus::of(kind);
    let mut rng = Rng(number("FUZZ_SEED", 0x5eed));
    let changed = (0..count * number("FUZZ_ROUNDS", 1)).map(|_| mutate::mutate(&corpus.real, &mut rng));
    for bytes in corpus.mean.iter().chain(&corpus.real).cloned().chain(changed) {
        std::fs::write(input, &bytes).unwrap();
        if let Err(wrong) = entry(&bytes) {
            panic!("{wrong}");
        }
    }
}

macro_rules! campaigns {
    ($($kind:ident)*) => {$(
        #[test]
        fn $kind() {
            campaign(stringify!($kind));
        }
    )*
        #[test]
        fn every_kind_has_a_campaign_and_a_target() {
            let here = [$(stringify!($kind)),*];
            assert_eq!(here, entry::ALL.map(|(name, _)| name));
            assert_eq!(here, KINDS.map(|(name, _)| name));
            for kind in here {
                let target = format!("{}/fuzz/fuzz_targets/{kind}.rs", env!("CARGO_MANIFEST_DIR"));
                assert!(Path::new(&target).is_file(), "{target} is missing");
            }
        }
    };
}

campaigns! {
    environment template plan journal release wishes metrics exposition store_answer api_answer kubeconfig words
}

#[test]
fn changes_are_the_same_for_the_same_seed() {
    let corpus = [b"a: 1\n".to_vec(), b"{\"b\": [1, 2]}".to_vec()];
    let all = |seed| {
        (0..50).map(|_| 0).scan(Rng(seed), |rng, _| Some(mutate::mutate(&corpus, rng))).collect::<Vec<_>>()
    };
    assert_eq!(all(1), all(1));
    assert_ne!(all(1), all(2));
}
