//! Ctrl-C, SIGTERM and a terminal that goes away: the first asks the run to put traffic on stable and stop (or, where an older
//! release is brought back, to stop where it is), the second leaves at once.

use super::report::outlet;
use crate::domain::error::Exit;
use futures::future::select_all;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How long the last words may take to be written.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Turns `stop` true at the first Ctrl-C or SIGTERM, for as long as it is polled; the second one ends the process.
pub(super) async fn end(stop: watch::Sender<bool>) -> std::io::Error {
    at_each(|| {
        if stop.send_replace(true) {
            leave();
        }
    })
    .await
}

/// Counts interrupts into `count` for as long as it is polled; `first` says what the first one does, the second one ends the
/// process.
///
/// Leaving at once is safe: what was begun is in the journal, and `resume` finds out how far it came.
pub(super) async fn listen(count: watch::Sender<u32>, env: &str, first: &str) -> std::io::Error {
    at_each(|| {
        count.send_modify(|count| *count += 1);
        if *count.borrow() > 1 {
            leave();
        }
        outlet::note(&format!(
            "interrupt: {first}; once more to leave at once (then: deployctl resume {env})\n"
        ));
    })
    .await
}

/// Does this at each signal, for as long as it is polled; ends only where signals cannot be heard.
async fn at_each(mut act: impl FnMut()) -> std::io::Error {
    let mut kinds = vec![SignalKind::interrupt(), SignalKind::terminate()];
    if !is_hangup_ignored() {
        kinds.push(SignalKind::hangup());
    }
    let mut doors = match kinds.into_iter().map(signal).collect::<Result<Vec<_>, _>>() {
        Ok(doors) => doors,
        Err(error) => return error,
    };
    loop {
        select_all(doors.iter_mut().map(|door| Box::pin(door.recv()))).await;
        act();
    }
}

/// The way to stable may be half done: 130 would say that the state is safe.
fn leave() -> ! {
    outlet::note("left at once, where traffic goes is not known: deployctl resume finds out\n");
    outlet::settle(Some(LAST_WORDS));
    std::process::exit(i32::from(Exit::Unknown as u8));
}

/// Whether somebody began this with `nohup`: listening would undo that. Known on Linux alone; elsewhere nobody listens.
fn is_hangup_ignored() -> bool {
    const HANGUP: u64 = 1;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_none_or(|mask| mask & HANGUP != 0)
}
