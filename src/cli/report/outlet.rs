//! Standard output and standard error behind a thread of their own, in the order in which they were written.
//!
//! A terminal that was stopped (Ctrl-S), or a pager that nobody scrolls, stops whoever writes to it. A run holds locks,
//! watches a canary and listens for Ctrl-C: it leaves its words here and goes on.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes that may wait for a reader. What comes beyond is left out, and how many lines that were is told.
const WAITING: usize = 16 << 20;

/// Where a text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum To {
    Out,
    Err,
}

#[derive(Default)]
struct Queue {
    texts: VecDeque<(To, Vec<u8>)>,
    bytes: usize,
    left_out: usize,
    writing: bool,
    /// Why something could not be written to standard output, the first time.
    lost: Option<io::Error>,
}

#[derive(Default)]
struct Outlet {
    queue: Mutex<Queue>,
    changed: Condvar,
    /// No thread could be had: whoever writes waits.
    direct: bool,
}

static OUTLET: LazyLock<&'static Outlet> = LazyLock::new(|| {
    let outlet: &'static Outlet = Box::leak(Box::default());
    let thread = std::thread::Builder::new().name("output".to_owned()).spawn(move || outlet.work());
    if thread.is_ok() { outlet } else { Box::leak(Box::new(Outlet { direct: true, ..Outlet::default() })) }
});

/// One of the two as a writer that never waits and never fails; see [`lost`].
impl Write for To {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        OUTLET.take(*self, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Leaves a text for standard error.
pub(in crate::cli) fn note(text: &str) {
    OUTLET.take(To::Err, text.as_bytes());
}

/// Waits until all is written, at the most so long; for ever without a limit, as any program does for its reader.
pub(in crate::cli) fn settle(limit: Option<Duration>) {
    OUTLET.settle(limit);
}

/// Why some of standard output is lost. A reader that went away has lost nothing that it wanted.
pub(in crate::cli) fn lost() -> Option<io::Error> {
    OUTLET.lock().lost.take()
}

impl Outlet {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, to: To, bytes: &[u8]) {
        if self.direct {
            let written = write(to, bytes);
            self.lock().note(to, written);
            return;
        }
        let mut queue = self.lock();
        if queue.bytes + bytes.len() > WAITING {
            queue.left_out += String::from_utf8_lossy(bytes).lines().count();
            return;
        }
        queue.bytes += bytes.len();
        queue.texts.push_back((to, bytes.to_vec()));
        self.changed.notify_all();
    }

    fn settle(&self, limit: Option<Duration>) {
        let busy = |queue: &mut Queue| queue.writing || !queue.texts.is_empty();
        let queue = self.lock();
        match limit {
            None => drop(self.changed.wait_while(queue, busy)),
            Some(limit) => drop(self.changed.wait_timeout_while(queue, limit, busy)),
        }
    }

    fn work(&self) {
        loop {
            let idle = |queue: &mut Queue| queue.texts.is_empty();
            let mut queue =
                self.changed.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
            let Some((to, bytes)) = queue.texts.pop_front() else { continue };
            queue.bytes -= bytes.len();
            queue.writing = true;
            drop(queue);
            let written = write(to, &bytes);
            let mut queue = self.lock();
            queue.writing = false;
            queue.note(to, written);
            let left_out = std::mem::take(&mut queue.left_out);
            if left_out > 0 {
                let text = format!("({left_out} lines were left out: nobody read them)\n");
                queue.bytes += text.len();
                queue.texts.push_back((To::Err, text.into_bytes()));
            }
            drop(queue);
            self.changed.notify_all();
        }
    }
}

impl Queue {
    fn note(&mut self, to: To, written: io::Result<()>) {
        if let Err(error) = written
            && to == To::Out
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            self.lost.get_or_insert(error);
        }
    }
}

fn write(to: To, bytes: &[u8]) -> io::Result<()> {
    match to {
        To::Out => {
            let mut out = io::stdout().lock();
            out.write_all(bytes).and_then(|()| out.flush())
        }
        To::Err => io::stderr().lock().write_all(bytes),
    }
}
