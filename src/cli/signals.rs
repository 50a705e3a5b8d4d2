//! Ctrl-C, SIGTERM and a terminal that goes away: the first asks the run to stop where that is safe, the same once more
//! leaves at once.

use super::report::outlet;
use crate::domain::error::Exit;
use futures::future::select_all;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

/// How long the last words may take to be written.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Signals of one kind that come closer than this are one: `timeout` and job runners signal a process and its group.
const ONE: Duration = Duration::from_millis(250);

/// Turns `stop` true at the first signal, for as long as it is polled; the same once more ends the process.
pub(super) async fn end(stop: watch::Sender<bool>) -> std::io::Error {
    at_each(|again| {
        if again {
            leave(true);
        }
        stop.send_replace(true);
    })
    .await
}

/// Counts interrupts into `count` for as long as it is polled; the same once more ends the process. `first` says what the
/// first one does where a run has begun, as `has_begun` tells; before that there is nothing to bring to a safe point.
///
/// Leaving at once is safe: what was begun is in the journal, and `resume` finds out how far it came.
pub(super) async fn listen(
    count: watch::Sender<u32>,
    env: &str,
    first: &str,
    has_begun: impl Fn() -> bool,
) -> std::io::Error {
    at_each(|again| {
        if again {
            leave(has_begun());
        }
        count.send_modify(|count| *count += 1);
        outlet::note(&if has_begun() {
            format!("interrupt: {first}; once more to leave at once (then: deployctl resume {env})\n")
        } else {
            "interrupt: nothing was begun; locks are given back\n".to_owned()
        });
    })
    .await
}

/// Does this at each signal, for as long as it is polled, and says whether the same was sent before; ends only where signals
/// cannot be heard.
///
/// Only the same signal once more is somebody who insists: a shell that ends sends SIGHUP twice, and a job that is cancelled
/// is sent SIGINT, then SIGTERM, and means the same by both.
async fn at_each(mut act: impl FnMut(bool)) -> std::io::Error {
    let mut kinds = vec![SignalKind::interrupt(), SignalKind::terminate()];
    if !is_hangup_ignored() {
        kinds.push(SignalKind::hangup());
    }
    let _heard = match Heard::begin(&kinds) {
        Ok(heard) => heard,
        Err(error) => return error,
    };
    let mut doors = match kinds.iter().copied().map(signal).collect::<Result<Vec<_>, _>>() {
        Ok(doors) => doors,
        Err(error) => return error,
    };
    let mut sent: BTreeMap<usize, Instant> = BTreeMap::new();
    loop {
        let (_, kind, _) = select_all(doors.iter_mut().map(|door| Box::pin(door.recv()))).await;
        let now = Instant::now();
        let is_first = sent.is_empty();
        match sent.insert(kind, now) {
            None if is_first => act(false),
            Some(before) if now - before > ONE && kinds[kind] != SignalKind::hangup() => act(true),
            _ => {}
        }
    }
}

/// Signals are heard for as long as this lives; before and after they do what they do to any process.
struct Heard(Arc<AtomicBool>);

impl Heard {
    fn begin(kinds: &[SignalKind]) -> std::io::Result<Self> {
        static UNHEARD: OnceLock<Arc<AtomicBool>> = OnceLock::new();
        let unheard = if let Some(unheard) = UNHEARD.get() {
            Arc::clone(unheard)
        } else {
            let unheard = Arc::new(AtomicBool::new(false));
            for kind in kinds {
                signal_hook::flag::register_conditional_default(kind.as_raw_value(), Arc::clone(&unheard))?;
            }
            Arc::clone(UNHEARD.get_or_init(|| unheard))
        };
        unheard.store(false, Ordering::SeqCst);
        Ok(Self(unheard))
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// The way to a safe point may be half done: 130 would say that the state is safe.
fn leave(has_begun: bool) -> ! {
    let (words, exit) = if has_begun {
        ("left at once, where traffic goes is not known: deployctl resume finds out\n", Exit::Unknown)
    } else {
        ("left at once: nothing was begun; a lock that was taken lapses by itself\n", Exit::Interrupted)
    };
    outlet::note(words);
    outlet::settle(Some(LAST_WORDS));
    std::process::exit(i32::from(exit as u8));
}

/// Whether somebody began this with `nohup`: listening would undo that. Known on Linux alone; elsewhere nobody listens.
fn is_hangup_ignored() -> bool {
    const HANGUP: u64 = 1;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_none_or(|mask| mask & HANGUP != 0)
}
