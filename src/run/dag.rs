//! Does pieces of work that wait for each other, as many at once as may be.

use crate::plan::order::Frontier;
use futures::stream::{FuturesUnordered, StreamExt as _};

/// Does every piece once its needs are done, `limit` at once. After a failure nothing new begins, what is under way comes
/// to its end, and the failures are returned with their places.
pub(super) async fn each<T, E, F>(
    needs: &[Vec<usize>],
    limit: usize,
    work: impl Fn(usize) -> F,
) -> Result<Vec<T>, Vec<(usize, E)>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut frontier = Frontier::of(needs);
    let mut running = FuturesUnordered::new();
    let (mut done, mut failed) = (Vec::with_capacity(needs.len()), Vec::new());
    loop {
        while running.len() < limit && failed.is_empty() {
            let Some(place) = frontier.begin() else { break };
            let piece = work(place);
            running.push(async move { (place, piece.await) });
        }
        match running.next().await {
            None => break,
            Some((place, Err(error))) => failed.push((place, error)),
            Some((place, Ok(value))) => {
                done.push(value);
                frontier.done(place);
            }
        }
    }
    failed.sort_by_key(|(place, _)| *place);
    if failed.is_empty() { Ok(done) } else { Err(failed) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::time::Duration;

    /// Begin and end of each piece in order; piece `n` takes `n + 1` seconds.
    async fn run(needs: &[Vec<usize>], limit: usize, bad: Option<usize>) -> (Vec<String>, Vec<usize>) {
        let log = Mutex::new(Vec::new());
        let result = each(needs, limit, |place| {
            let log = &log;
            async move {
                log.lock().unwrap().push(format!("+{place}"));
                tokio::time::sleep(Duration::from_secs(place as u64 + 1)).await;
                log.lock().unwrap().push(format!("-{place}"));
                if Some(place) == bad { Err(()) } else { Ok(()) }
            }
        })
        .await;
        let failed = result.err().unwrap_or_default().into_iter().map(|(place, ())| place).collect();
        (log.into_inner().unwrap(), failed)
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_waits_for_what_it_does_not_need() {
        let needs = [vec![], vec![0], vec![], vec![1, 2]];
        assert_eq!(run(&needs, 64, None).await.0, ["+0", "+2", "-0", "+1", "-2", "-1", "+3", "-3"]);
        assert_eq!(run(&needs, 1, None).await.0, ["+0", "-0", "+1", "-1", "+2", "-2", "+3", "-3"]);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_failure_nothing_begins_and_what_runs_ends() {
        let needs = [vec![], vec![], vec![0]];
        let (log, failed) = run(&needs, 64, Some(0)).await;
        assert_eq!((log, failed), (["+0", "+1", "-0", "-1"].map(str::to_owned).to_vec(), vec![0]));
    }
}
