//! The faults by name: what each takes, how long it lasts, what it does.

use super::FaultKind;

/// How the first number of a fault is meant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Amount {
    None,
    Percent(f64),
    Millis(f64),
    Seconds(f64),
    Count(f64),
}

impl Amount {
    /// The number that is meant where none is written.
    pub(super) fn usual(self) -> f64 {
        match self {
            Self::None => 0.0,
            Self::Percent(n) | Self::Millis(n) | Self::Seconds(n) | Self::Count(n) => n,
        }
    }
}

/// Name, kind, first number with its default, default duration in seconds (0: for good), description.
pub(super) type Row = (&'static str, FaultKind, Amount, u64, &'static str);

pub(super) const TABLE: &[Row] = &[
    ("crash-loop", FaultKind::CrashLoop, Amount::None, 0, "the new version crashes soon after every start"),
    (
        "error-spike",
        FaultKind::ErrorSpike,
        Amount::Percent(20.0),
        0,
        "PERCENT of the new version's requests fail",
    ),
    (
        "shared-error-spike",
        FaultKind::SharedErrorSpike,
        Amount::Percent(20.0),
        300,
        "PERCENT of all versions' requests fail, for SECONDS",
    ),
    (
        "latency",
        FaultKind::Latency,
        Amount::Millis(300.0),
        0,
        "the new version's requests take MILLISECONDS longer",
    ),
    (
        "smoke-fail",
        FaultKind::SmokeFail,
        Amount::None,
        0,
        "the new version serves traffic, but /health answers 503",
    ),
    ("image-missing", FaultKind::ImageMissing, Amount::None, 0, "the new version's image cannot be pulled"),
    (
        "config-missing",
        FaultKind::ConfigMissing,
        Amount::None,
        0,
        "the new version reads a key that its Secret does not have",
    ),
    (
        "slow-start",
        FaultKind::SlowStart,
        Amount::Seconds(60.0),
        0,
        "the new version needs SECONDS to become ready",
    ),
    ("unready", FaultKind::Unready, Amount::None, 0, "the new version never becomes ready"),
    (
        "pod-crash-after",
        FaultKind::PodCrashAfter,
        Amount::Seconds(120.0),
        0,
        "the new version crashes after SECONDS",
    ),
    ("api-down", FaultKind::ApiDown, Amount::None, 60, "the API server cannot be reached, for SECONDS"),
    ("api-slow", FaultKind::ApiSlow, Amount::Millis(2000.0), 120, "the API server answers MILLISECONDS late"),
    ("conflict", FaultKind::Conflict, Amount::Count(5.0), 0, "the next COUNT writes answer 409"),
    ("throttle", FaultKind::Throttle, Amount::None, 20, "requests answer 429 with Retry-After, for SECONDS"),
    ("watch-drop", FaultKind::WatchDrop, Amount::None, 0, "all watches break off once"),
    ("gone", FaultKind::Gone, Amount::None, 0, "the API server forgets its history: watches get 410 once"),
    ("node-loss", FaultKind::NodeLoss, Amount::None, 0, "a node stops answering, with its pods"),
    (
        "metrics-down",
        FaultKind::MetricsDown,
        Amount::None,
        300,
        "the metric store cannot be reached, for SECONDS",
    ),
    ("no-data", FaultKind::NoData, Amount::None, 300, "the metric store has no data, for SECONDS"),
    ("nan", FaultKind::NotANumber, Amount::None, 300, "the metric store answers NaN, for SECONDS"),
    (
        "metrics-delay",
        FaultKind::MetricsDelay,
        Amount::Seconds(120.0),
        600,
        "the metric store lags SECONDS behind",
    ),
    ("quota", FaultKind::Quota, Amount::None, 0, "quotas allow no more pods than there are"),
    (
        "router-stuck",
        FaultKind::RouterStuck,
        Amount::None,
        0,
        "routers accept new weights and rules and do not follow them",
    ),
    (
        "router-late",
        FaultKind::RouterLate,
        Amount::Seconds(20.0),
        0,
        "routers follow new weights and rules SECONDS late",
    ),
    ("lease-stolen", FaultKind::LeaseStolen, Amount::None, 0, "somebody else takes the lock"),
    ("snapshot-fail", FaultKind::SnapshotFail, Amount::None, 0, "the database snapshot fails"),
    ("terraform-fail", FaultKind::TerraformFail, Amount::None, 0, "terraform apply fails"),
    (
        "device-busy",
        FaultKind::DeviceBusy,
        Amount::None,
        0,
        "the exclusive device is in use by another process",
    ),
    ("stale-read", FaultKind::StaleRead, Amount::Seconds(10.0), 120, "watches show changes SECONDS late"),
    ("token-expired", FaultKind::TokenExpired, Amount::None, 60, "the API server answers 401, for SECONDS"),
    (
        "partition",
        FaultKind::Partition,
        Amount::None,
        90,
        "a region (the first, unless WHERE names it) answers nothing to the operator's machine, for SECONDS",
    ),
    (
        "registry-down",
        FaultKind::RegistryDown,
        Amount::None,
        120,
        "no image can be pulled that a node does not have, for SECONDS",
    ),
    (
        "dependency",
        FaultKind::Dependency,
        Amount::Percent(20.0),
        300,
        "a dependency fails: the PERCENT of requests that use it fail, of all versions, for SECONDS",
    ),
    ("hook-hang", FaultKind::HookHang, Amount::None, 0, "Jobs that begin from now on never end"),
    (
        "operator-scales",
        FaultKind::OperatorScales,
        Amount::Count(1.0),
        0,
        "another operator scales a workload to COUNT pods",
    ),
    (
        "operator-sets-image",
        FaultKind::OperatorSetsImage,
        Amount::None,
        0,
        "another operator sets a workload's image",
    ),
    (
        "operator-edits-service",
        FaultKind::OperatorEditsService,
        Amount::None,
        0,
        "another operator takes the revision out of a Service's selector",
    ),
    ("load-rise", FaultKind::LoadRise, Amount::Percent(80.0), 600, "PERCENT more requests come, for SECONDS"),
    (
        "quota-shrink",
        FaultKind::QuotaShrink,
        Amount::Count(1.0),
        0,
        "quotas allow COUNT pods fewer than there are",
    ),
    (
        "disk-full",
        FaultKind::DiskFull,
        Amount::None,
        120,
        "the API server's store is full: every write but a deletion is refused, journal included, for SECONDS",
    ),
    (
        "clock-jump",
        FaultKind::ClockJump,
        Amount::Seconds(3600.0),
        0,
        "the clock of the operator's machine jumps by SECONDS, back if negative",
    ),
    (
        "suspend",
        FaultKind::Suspend,
        Amount::Seconds(90.0),
        0,
        "the machine that deployctl runs on stands still for SECONDS",
    ),
];
