//! Ctrl-C and SIGTERM: the first asks the run to put traffic on stable and stop, the second leaves at once.

use crate::domain::error::Exit;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Turns `stop` true at the first Ctrl-C or SIGTERM, for as long as it is polled; the second one ends the process.
pub(super) async fn end(stop: watch::Sender<bool>) -> std::io::Error {
    at_each(|| {
        if stop.send_replace(true) {
            leave();
        }
    })
    .await
}

/// Counts interrupts into `count` for as long as it is polled; the second one ends the process.
///
/// Leaving at once is safe: what was begun is in the journal, and `resume` finds out how far it came.
pub(super) async fn listen(count: watch::Sender<u32>, env: &str) -> std::io::Error {
    at_each(|| {
        count.send_modify(|count| *count += 1);
        if *count.borrow() > 1 {
            leave();
        }
        eprintln!(
            "interrupt: traffic goes to stable; once more to leave at once (then: deployctl resume {env})"
        );
    })
    .await
}

/// Does this at each signal, for as long as it is polled; ends only where signals cannot be heard.
async fn at_each(mut act: impl FnMut()) -> std::io::Error {
    let (mut interrupt, mut terminate) =
        match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
            (Ok(interrupt), Ok(terminate)) => (interrupt, terminate),
            (Err(error), _) | (_, Err(error)) => return error,
        };
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        act();
    }
}

fn leave() -> ! {
    std::process::exit(i32::from(Exit::Interrupted as u8));
}
