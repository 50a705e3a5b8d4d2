//! The lock as a `coordination.k8s.io/v1` Lease.
//!
//! **When has a lease lapsed?** Two clocks that disagree must not make two holders. The time that the API server
//! stamped on the last write of the Lease and the `Date` of its answer come from one clock, the server's: their
//! difference is how long the holder has been silent, whatever our clock and the holder's say. Where `renewTime`
//! tells otherwise by more than `SKEW`, the server is believed (as [`Holder::renewed`], in terms of our clock). A
//! server that tells neither leaves `renewTime` and our clock. Beside that, as client-go does it, a lease that we
//! have seen unchanged for its whole time, by our own monotonic clock, has lapsed.

use crate::adapters::kubernetes::namespace::{
    self, LABEL_APPLICATION, LABEL_ENVIRONMENT, LABEL_MANAGED_BY, MANAGED_BY, dns_part,
};
use crate::adapters::kubernetes::objects::absent;
use crate::adapters::kubernetes::request;
use crate::adapters::kubernetes::send::{Answer, Api, Patience};
use crate::domain::release::Actor;
use crate::ports::state::{Holder, LockError, REQUEST_TIMEOUT};
use crate::ports::{Clock, ClusterError, Lock};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

const API_VERSION: &str = "coordination.k8s.io/v1";
const USER: &str = "deployctl.dev/user";
const HOST: &str = "deployctl.dev/host";
const CI: &str = "deployctl.dev/ci";
const REASON: &str = "deployctl.dev/reason";
const SINCE: &str = "deployctl.dev/since";
/// Disagreement of clocks that is taken for rounding and transport.
const SKEW: SignedDuration = SignedDuration::from_secs(5);
/// Rounds of read and write against others who write at the same time.
const ROUNDS: u32 = 8;

/// The lock of one application and environment in one cluster.
pub struct LeaseLock {
    api: Arc<Api>,
    clock: Arc<dyn Clock>,
    namespace: String,
    name: String,
    labels: Value,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    /// The Lease as our last write left it.
    ours: Option<Value>,
    /// Version of a Lease of somebody else, and since when we have seen it so.
    theirs: Option<(String, Instant)>,
}

/// A Lease and what the server's clock says of it.
struct Found {
    lease: Value,
    holder: Option<Holder>,
    version: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Stamps {
    managed_fields: Vec<Stamp>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Stamp {
    time: Option<Timestamp>,
}

impl LeaseLock {
    pub(crate) fn new(
        api: Arc<Api>,
        namespace: &str,
        application: &str,
        environment: &str,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (application, environment) = (dns_part(application, 50), dns_part(environment, 40));
        Self {
            api,
            clock,
            namespace: namespace.to_owned(),
            name: format!("{application}.{environment}"),
            labels: json!({
                LABEL_MANAGED_BY: MANAGED_BY,
                LABEL_APPLICATION: application,
                LABEL_ENVIRONMENT: environment,
            }),
            memory: Mutex::default(),
        }
    }

    /// The same kind of lock for another purpose: a guard's sign of life is a Lease beside the runs' own.
    pub(crate) fn of_guard(mut self) -> Self {
        self.name = format!("deployctl-guard-{}", self.name);
        self
    }

    fn path(&self, name: &str) -> String {
        request::path(API_VERSION, "leases", &self.namespace, name, "")
    }

    async fn find(&self, patience: Patience) -> Result<Option<Found>, ClusterError> {
        let call = request::get(&self.path(&self.name));
        let Some(answer) = absent(self.api.call(&call, patience).await)? else { return Ok(None) };
        let lease: Value = self.api.parse(&answer)?;
        let mut holder = read_holder(&lease);
        if let (Some(holder), Some(silent)) = (&mut holder, silence(&lease, &answer)) {
            let by_server = self.clock.now() - silent;
            if by_server.duration_since(holder.renewed).abs() > SKEW {
                holder.renewed = by_server;
            }
        }
        let version = lease["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        Ok(Some(Found { lease, holder, version }))
    }

    /// Whether somebody else's lease has lapsed; notes what was seen.
    fn lapsed(&self, found: &Found, holder: &Holder) -> bool {
        let mut memory = self.memory.lock().expect("no panic while held");
        let since = match &memory.theirs {
            Some((version, since)) if *version == found.version => *since,
            _ => Instant::now(),
        };
        memory.theirs = Some((found.version.clone(), since));
        holder.expired(self.clock.now()) || since.elapsed() > holder.ttl + REQUEST_TIMEOUT
    }

    async fn create(&self, holder: &Holder, patience: Patience) -> Result<(), ClusterError> {
        let mut lease = json!({
            "apiVersion": API_VERSION,
            "kind": "Lease",
            "metadata": { "name": self.name, "namespace": self.namespace, "labels": self.labels },
            "spec": { "leaseTransitions": 0 },
        });
        write_holder(&mut lease, holder);
        // A repetition that finds the first try done is told so, reads the Lease and sees itself.
        let call = request::create(&self.path(""), &lease);
        let mut result = self.api.call(&call, patience).await;
        for _ in 0..3 {
            if !matches!(result, Err(ClusterError::NotFound { .. })) {
                break;
            }
            namespace::ensure(&self.api, &self.namespace, patience).await?;
            result = self.api.call(&call, patience).await;
        }
        self.keep(&result?)
    }

    async fn replace(&self, lease: &Value, patience: Patience) -> Result<(), ClusterError> {
        let answer = self.api.call(&request::replace(&self.path(&self.name), lease), patience).await?;
        self.keep(&answer)
    }

    /// Remembers the Lease as our write left it.
    fn keep(&self, answer: &Answer) -> Result<(), ClusterError> {
        let lease: Value = self.api.parse(answer)?;
        self.memory.lock().expect("no panic while held").ours = Some(lease);
        Ok(())
    }

    /// Makes the lock free if its holder is one of those.
    async fn clear_while(&self, held: impl Fn(&Holder) -> bool, patience: Patience) -> Result<(), LockError> {
        for _ in 0..ROUNDS {
            let Some(found) = self.find(patience).await.map_err(lock_error)? else { return Ok(()) };
            if !found.holder.is_some_and(|holder| held(&holder)) {
                return Ok(());
            }
            match self.clear(found.lease, patience).await {
                // Its holder lives and has just renewed it.
                Err(ClusterError::Conflict { .. }) => {}
                Err(ClusterError::NotFound { .. }) => return Ok(()),
                result => return result.map_err(lock_error),
            }
        }
        Err(self.contended())
    }

    fn contended(&self) -> LockError {
        LockError::Unreachable(format!("the lease {} is contended: {ROUNDS} rounds lost", self.name))
    }

    /// Takes the holder out of the Lease; the object stays and counts the transitions.
    async fn clear(&self, mut lease: Value, patience: Patience) -> Result<(), ClusterError> {
        lease["spec"]["holderIdentity"] = "".into();
        if let Some(annotations) = lease["metadata"]["annotations"].as_object_mut() {
            for key in [USER, HOST, CI, REASON, SINCE] {
                annotations.remove(key);
            }
        }
        self.memory.lock().expect("no panic while held").ours = None;
        let call = request::replace(&self.path(&self.name), &lease);
        self.api.call(&call, patience).await.map(|_| ())
    }
}

impl std::fmt::Debug for LeaseLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeaseLock").field("name", &self.name).finish_non_exhaustive()
    }
}

#[async_trait]
impl Lock for LeaseLock {
    async fn acquire(&self, holder: &Holder) -> Result<(), LockError> {
        let patience = Patience::quick();
        for _ in 0..ROUNDS {
            let result = match self.find(patience).await.map_err(lock_error)? {
                None => self.create(holder, patience).await,
                Some(mut found) => {
                    let other = found.holder.as_ref().filter(|other| other.id != holder.id);
                    if let Some(other) = other
                        && !self.lapsed(&found, other)
                    {
                        return Err(LockError::Held(Box::new(other.clone())));
                    }
                    if found.holder.as_ref().is_none_or(|other| other.id != holder.id) {
                        let transitions = found.lease["spec"]["leaseTransitions"].as_i64().unwrap_or(0);
                        found.lease["spec"]["leaseTransitions"] = (transitions + 1).into();
                        found.lease["spec"]["acquireTime"] = Value::Null;
                    }
                    write_holder(&mut found.lease, holder);
                    self.replace(&found.lease, patience).await
                }
            };
            match result {
                // Somebody else wrote in between, or our own lost try did: look again.
                Err(ClusterError::Conflict { .. }) => {}
                result => return result.map_err(lock_error),
            }
        }
        Err(self.contended())
    }

    async fn renew(&self, holder: &Holder) -> Result<(), LockError> {
        let patience = Patience::quick();
        let known = self.memory.lock().expect("no panic while held").ours.clone();
        // The version that we know saves the read: it fits as long as nobody else has written.
        if let Some(mut lease) =
            known.filter(|lease| read_holder(lease).is_some_and(|own| own.id == holder.id))
        {
            write_holder(&mut lease, holder);
            match self.replace(&lease, patience).await {
                Err(ClusterError::Conflict { .. } | ClusterError::NotFound { .. }) => {}
                result => return result.map_err(lock_error),
            }
        }
        for _ in 0..ROUNDS {
            let gone = || LockError::Gone(format!("the lock {} was taken away from us", self.name));
            let found = self.find(patience).await.map_err(lock_error)?.ok_or_else(gone)?;
            let current = found.holder.ok_or_else(gone)?;
            if current.id != holder.id {
                return Err(LockError::Held(Box::new(current)));
            }
            let mut lease = found.lease;
            write_holder(&mut lease, holder);
            match self.replace(&lease, patience).await {
                Err(ClusterError::Conflict { .. } | ClusterError::NotFound { .. }) => {}
                result => return result.map_err(lock_error),
            }
        }
        Err(self.contended())
    }

    async fn release(&self, holder: &Holder) -> Result<(), LockError> {
        self.clear_while(|held_by| held_by.id == holder.id, Patience::quick()).await
    }

    async fn inspect(&self) -> Result<Option<Holder>, LockError> {
        let found = self.find(Patience::read()).await.map_err(lock_error)?;
        Ok(found.and_then(|found| found.holder))
    }

    async fn break_lock(&self) -> Result<(), LockError> {
        self.clear_while(|_| true, Patience::write()).await
    }
}

/// How long ago the Lease was written, by the server's own clock.
fn silence(lease: &Value, answer: &Answer) -> Option<SignedDuration> {
    let stamps: Stamps = Stamps::deserialize(&lease["metadata"]).ok()?;
    let written = stamps.managed_fields.into_iter().filter_map(|stamp| stamp.time).max()?;
    Some(answer.date?.duration_since(written).max(SignedDuration::ZERO))
}

/// Who holds a Lease.
fn read_holder(lease: &Value) -> Option<Holder> {
    let spec = &lease["spec"];
    let id = spec["holderIdentity"].as_str().filter(|id| !id.is_empty())?;
    let time = |value: &Value| value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    let note = |key: &str| lease["metadata"]["annotations"][key].as_str().map(str::to_owned);
    let renewed = time(&spec["renewTime"]).unwrap_or(Timestamp::UNIX_EPOCH);
    Some(Holder {
        id: id.to_owned(),
        by: Actor {
            // Somebody who writes Leases by other means is at least named.
            user: note(USER).unwrap_or_else(|| id.to_owned()),
            host: note(HOST).unwrap_or_default(),
            ci: note(CI),
        },
        reason: note(REASON).unwrap_or_default(),
        since: note(SINCE)
            .and_then(|text| text.parse().ok())
            .or_else(|| time(&spec["acquireTime"]))
            .unwrap_or(renewed),
        renewed,
        ttl: Duration::from_secs(spec["leaseDurationSeconds"].as_u64().unwrap_or_default()),
    })
}

/// Writes a holder into a Lease; its `resourceVersion`, if it has one, stays as the precondition.
fn write_holder(lease: &mut Value, holder: &Holder) {
    let metadata = &mut lease["metadata"];
    if !metadata["annotations"].is_object() {
        metadata["annotations"] = Value::Object(Map::new());
    }
    let notes = &mut metadata["annotations"];
    notes[USER] = holder.by.user.clone().into();
    notes[HOST] = holder.by.host.clone().into();
    notes[REASON] = holder.reason.clone().into();
    notes[SINCE] = holder.since.to_string().into();
    match &holder.by.ci {
        Some(link) => notes[CI] = link.clone().into(),
        None => {
            notes.as_object_mut().and_then(|notes| notes.remove(CI));
        }
    }
    // The server's record of field owners need not travel back.
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.remove("managedFields");
    }
    let spec = &mut lease["spec"];
    spec["holderIdentity"] = holder.id.clone().into();
    let seconds = holder.ttl.as_secs() + u64::from(holder.ttl.subsec_nanos() > 0);
    spec["leaseDurationSeconds"] = seconds.clamp(1, i32::MAX as u64).into();
    spec["renewTime"] = micro_time(holder.renewed).into();
    if !spec["acquireTime"].is_string() {
        spec["acquireTime"] = micro_time(holder.renewed).into();
    }
}

/// A `MicroTime`: always six digits, which the API server insists on.
fn micro_time(time: Timestamp) -> String {
    format!("{time:.6}")
}

fn lock_error(error: ClusterError) -> LockError {
    match error {
        ClusterError::Unreachable { .. } | ClusterError::Server { code: 429 | 500.., .. } => {
            LockError::Unreachable(error.to_string())
        }
        ClusterError::Contested { .. } | ClusterError::Server { .. } => {
            LockError::Forbidden(error.to_string())
        }
        ClusterError::NotFound { message }
        | ClusterError::Conflict { message }
        | ClusterError::Forbidden { message }
        | ClusterError::Invalid { message } => LockError::Forbidden(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder() -> Holder {
        Holder {
            id: "run/1".into(),
            by: Actor { user: "ana".into(), host: "ci-7".into(), ci: Some("https://ci/1".into()) },
            reason: "deploy 1.4.2".into(),
            since: "2026-01-05T03:00:00Z".parse().unwrap(),
            renewed: "2026-01-05T03:00:10.5Z".parse().unwrap(),
            ttl: Duration::from_secs(30),
        }
    }

    #[test]
    fn a_lease_gives_back_the_holder_that_was_written() {
        let mut lease = json!({ "metadata": { "managedFields": [] }, "spec": {} });
        write_holder(&mut lease, &holder());
        assert_eq!(read_holder(&lease), Some(holder()));
        assert_eq!(lease["spec"]["renewTime"], "2026-01-05T03:00:10.500000Z");
        assert_eq!(lease["spec"]["acquireTime"], "2026-01-05T03:00:10.500000Z");
        assert!(lease["metadata"].get("managedFields").is_none());
        let mut no_ci = holder();
        no_ci.by.ci = None;
        write_holder(&mut lease, &no_ci);
        assert_eq!(read_holder(&lease), Some(no_ci));
        lease["spec"]["holderIdentity"] = "".into();
        assert_eq!(read_holder(&lease), None);
    }

    #[test]
    fn silence_is_told_by_the_servers_clock() {
        let lease = json!({ "metadata": { "managedFields": [
            { "time": "2026-01-05T03:00:00Z" }, { "time": "2026-01-05T03:00:20Z" }, {} ] } });
        let mut answer = Answer {
            status: http::StatusCode::OK,
            body: bytes::Bytes::new(),
            date: Some("2026-01-05T03:01:00Z".parse().unwrap()),
            warnings: vec![],
        };
        assert_eq!(silence(&lease, &answer), Some(SignedDuration::from_secs(40)));
        answer.date = None;
        assert_eq!(silence(&lease, &answer), None);
    }
}
