//! The simulated managed services of a region: RDS snapshots, EKS, Terraform.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::faults::FaultKind;
use super::queue::Millis;
use super::world::{Shared, State};
use crate::ports::cloud::{Cloud, CloudError, SnapshotState};

/// How long a call takes.
const CALL: Duration = Duration::from_millis(120);

/// How long a snapshot takes, in milliseconds.
const SNAPSHOT: (Millis, Millis) = (120_000, 360_000);

/// Manual snapshots per region, at most.
const SNAPSHOT_QUOTA: usize = 100;

/// A manual snapshot.
#[derive(Clone, Debug)]
struct Snapshot {
    instance: String,
    began: Millis,
    takes: Millis,
}

/// What has been made in all regions.
#[derive(Clone, Debug, Default)]
pub struct CloudState {
    snapshots: BTreeMap<(String, String), Snapshot>,
    instances: BTreeMap<(String, String), String>,
    clusters: BTreeMap<(String, String), String>,
    applied: BTreeMap<(String, String), u32>,
}

/// The managed services of one region.
#[derive(Clone)]
pub struct SimCloud {
    shared: Arc<Shared>,
    region: String,
}

fn refused(message: impl Into<String>) -> CloudError {
    CloudError { message: message.into() }
}

/// Why `name` cannot name a snapshot, if it cannot.
fn name_problem(name: &str) -> Option<&'static str> {
    let valid = name.len() <= 255
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && !name.ends_with('-')
        && !name.contains("--");
    (!valid).then_some(
        "InvalidParameterValue: The parameter DBSnapshotIdentifier is not a valid identifier. Identifiers must begin with a letter; must contain only ASCII letters, digits, and hyphens; and must not end with a hyphen or contain two consecutive hyphens.",
    )
}

impl SimCloud {
    /// The services of a region.
    #[must_use]
    pub fn new(shared: Arc<Shared>, region: &str) -> Self {
        Self { shared, region: region.to_owned() }
    }

    fn key(&self, name: &str) -> (String, String) {
        (self.region.clone(), name.to_owned())
    }

    /// Sets the state that a DB instance shows; `None` makes it unknown again (every instance is `available`).
    pub fn set_instance(&self, instance: &str, state: Option<&str>) {
        let mut world = self.shared.state();
        match state {
            Some(state) => world.cloud.instances.insert(self.key(instance), state.to_owned()),
            None => world.cloud.instances.remove(&self.key(instance)),
        };
    }

    /// Sets the state that an EKS cluster or node group (`CLUSTER/GROUP`) shows; every one is `ACTIVE` otherwise.
    pub fn set_eks(&self, name: &str, state: &str) {
        self.shared.state().cloud.clusters.insert(self.key(name), state.to_owned());
    }

    /// `DescribeCluster`, or `DescribeNodegroup` for `CLUSTER/GROUP`: the status.
    #[must_use]
    pub fn eks_status(&self, name: &str) -> String {
        let known = self.shared.state().cloud.clusters.get(&self.key(name)).cloned();
        known.unwrap_or_else(|| "ACTIVE".to_owned())
    }

    fn begin_snapshot(&self, state: &mut State, instance: &str, snapshot: &str) -> Result<(), CloudError> {
        if let Some(problem) = name_problem(snapshot) {
            return Err(refused(problem));
        }
        let shown = state.cloud.instances.get(&self.key(instance)).map_or("available", String::as_str);
        if !matches!(shown, "available" | "storage-optimization") {
            return Err(refused(format!(
                "InvalidDBInstanceState: Database instance is not in available state: {instance} is {shown}."
            )));
        }
        if state.cloud.snapshots.contains_key(&self.key(snapshot)) {
            return Ok(());
        }
        if state.cloud.snapshots.keys().filter(|(region, _)| *region == self.region).count() >= SNAPSHOT_QUOTA
        {
            return Err(refused("SnapshotQuotaExceeded: Cannot create more than 100 manual snapshots"));
        }
        let began = state.moment().at;
        let takes = state.random().millis(SNAPSHOT);
        state
            .cloud
            .snapshots
            .insert(self.key(snapshot), Snapshot { instance: instance.to_owned(), began, takes });
        Ok(())
    }
}

#[async_trait]
impl Cloud for SimCloud {
    async fn db_instance(&self, instance: &str) -> Result<String, CloudError> {
        tokio::time::sleep(CALL).await;
        let state = self.shared.state();
        let now = state.moment().at;
        let backing_up = state.cloud.snapshots.iter().any(|((region, _), snapshot)| {
            *region == self.region && snapshot.instance == instance && now < snapshot.began + snapshot.takes
        });
        let shown = state.cloud.instances.get(&self.key(instance)).map_or("available", String::as_str);
        Ok(if backing_up && shown == "available" { "backing-up".to_owned() } else { shown.to_owned() })
    }

    async fn create_snapshot(&self, instance: &str, snapshot: &str) -> Result<(), CloudError> {
        tokio::time::sleep(CALL).await;
        self.begin_snapshot(&mut self.shared.state(), instance, snapshot)
    }

    async fn snapshot(&self, snapshot: &str) -> Result<SnapshotState, CloudError> {
        tokio::time::sleep(CALL).await;
        let state = self.shared.state();
        let Some(known) = state.cloud.snapshots.get(&self.key(snapshot)) else {
            return Err(refused(format!("DBSnapshotNotFound: DBSnapshot {snapshot} not found.")));
        };
        let now = state.moment().at;
        let percent = (now - known.began) * 100 / known.takes.max(1);
        let failing = state.faults.of_kind(FaultKind::SnapshotFail, &self.region, now).is_some();
        Ok(match percent {
            40.. if failing => SnapshotState::Failed("the snapshot failed: incompatible storage".to_owned()),
            100.. => SnapshotState::Available,
            percent => SnapshotState::Creating(percent as u8),
        })
    }

    async fn terraform(&self, dir: &str) -> Result<String, CloudError> {
        let (failing, runs) = {
            let mut state = self.shared.state();
            let now = state.moment().at;
            let failing = state.faults.of_kind(FaultKind::TerraformFail, &self.region, now).is_some();
            let runs = state.cloud.applied.entry(self.key(dir)).or_default();
            *runs += u32::from(!failing);
            (failing, *runs)
        };
        tokio::time::sleep(Duration::from_secs(if runs > 1 { 12 } else { 48 })).await;
        if failing {
            return Err(refused(
                "Error: creating EKS Node Group: InvalidParameterException: Subnets are not tagged",
            ));
        }
        Ok(if runs > 1 {
            "Apply complete! Resources: 0 added, 0 changed, 0 destroyed.".to_owned()
        } else {
            "Apply complete! Resources: 3 added, 1 changed, 0 destroyed.".to_owned()
        })
    }
}
