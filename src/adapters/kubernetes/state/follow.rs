//! Records kept current by one LIST+WATCH of their label, for as long as somebody listens.

use super::{Secret, read_all, records};
use crate::adapters::kubernetes::request::{self, Selection};
use crate::adapters::kubernetes::send::{Api, Patience};
use crate::adapters::kubernetes::tail::{End, GOOD, RETRY_FORBIDDEN, SPAN, Tail, Told};
use crate::ports::ClusterError;
use crate::ports::state::Record;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::Instant;

/// One listener's view of the records of a kind.
pub(super) struct Follower {
    pub api: Arc<Api>,
    pub path: String,
    pub labels: String,
    pub prefix: String,
    /// By the Secret's name.
    pub secrets: BTreeMap<String, Secret>,
    pub sender: watch::Sender<Option<Vec<Record>>>,
}

impl Follower {
    /// Follows until nobody listens any more.
    pub async fn run(self) {
        let sender = self.sender.clone();
        tokio::select! {
            biased;
            () = sender.closed() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(mut self) {
        let mut breaks = 0;
        loop {
            let outcome = match read_all(&self.api, &self.path, &self.labels, Patience::quick).await {
                Ok((secrets, version)) => {
                    self.secrets = secrets.into_iter().map(|s| (s.metadata.name.clone(), s)).collect();
                    self.publish();
                    self.watch(version, &mut breaks).await
                }
                Err(error) => Err(error),
            };
            let pause = match outcome {
                Ok(()) => continue,
                Err(ClusterError::Forbidden { .. } | ClusterError::NotFound { .. }) => RETRY_FORBIDDEN,
                Err(_) => self.api.pause(&self.path, breaks),
            };
            breaks += 1;
            tokio::time::sleep(pause).await;
        }
    }

    /// Watches from `version` until that is too old; an error when the watch could not be had or broke.
    async fn watch(&mut self, mut version: String, breaks: &mut u32) -> Result<(), ClusterError> {
        loop {
            let began = Instant::now();
            let selection = Selection { fields: "", labels: &self.labels };
            let call = request::watch(&self.path, selection, &version, SPAN);
            let mut tail = match self.api.open(&call).await {
                Ok(body) => Tail::of(&self.path, body),
                Err(ClusterError::Server { code: 410, .. }) => return Ok(()),
                Err(error) => return Err(error),
            };
            let end = loop {
                let (told, end) = tail.next::<Secret>().await;
                let versions = told.iter().map(|told| &told.object().metadata.resource_version);
                if let Some(last) = versions.rev().find(|version| !version.is_empty()) {
                    version.clone_from(last);
                }
                self.take_in(told);
                if let Some(end) = end {
                    break end;
                }
            };
            match end {
                End::Expired => return Ok(()),
                End::Over if began.elapsed() >= GOOD => *breaks = 0,
                // A server (or a proxy) that hangs up at once must not be asked in a tight loop.
                End::Over => {
                    let pause = self.api.pause(&self.path, *breaks);
                    *breaks += 1;
                    tokio::time::sleep(pause).await;
                }
                End::Broken(message) => {
                    return Err(ClusterError::Unreachable { server: self.api.server.clone(), message });
                }
            }
        }
    }

    fn take_in(&mut self, told: Vec<Told<Secret>>) {
        let mut changed = false;
        for told in told {
            match told {
                Told::Put(secret) => {
                    changed = true;
                    self.secrets.insert(secret.metadata.name.clone(), secret);
                }
                Told::Gone(secret) => changed |= self.secrets.remove(&secret.metadata.name).is_some(),
                Told::Mark(_) => {}
            }
        }
        if changed {
            self.publish();
        }
    }

    /// A head whose parts are not there yet is not damaged for good: it is left out.
    fn publish(&self) {
        let whole = records(self.secrets.values(), &self.prefix).into_iter();
        let whole = whole.filter(|record| record.damage.is_none()).collect();
        self.sender.send_replace(Some(whole));
    }
}
