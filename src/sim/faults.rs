//! Faults as data: what goes wrong, where, and when. `NAME[:ARGUMENT…]@WHEN`, as `rehearse --fault` takes it.
//!
//! `WHEN` is a virtual time since the world began (`12m30s`) or a label that the wiring fires (`weight:25`,
//! `step:NAME`). Arguments are a number (percent, milliseconds or seconds, see [`Fault::list`]), a second number
//! for how many seconds it lasts, and the name of a component or of a cluster.

use std::fmt;
use std::str::FromStr;

use super::queue::Millis;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// The process ends with code 1 soon after it starts, again and again.
    CrashLoop,
    /// Requests answer 500.
    ErrorSpike,
    /// Requests answer 500 whatever the version.
    SharedErrorSpike,
    /// Requests take longer.
    Latency,
    /// Traffic is served well, but `/health` answers 503.
    SmokeFail,
    /// The image does not exist.
    ImageMissing,
    /// A Secret that the container reads lacks a key.
    ConfigMissing,
    /// The process takes long to become ready.
    SlowStart,
    /// The process never becomes ready.
    Unready,
    /// The process ends some time after it became ready.
    PodCrashAfter,
    /// The API server cannot be reached.
    ApiDown,
    /// The API server answers late.
    ApiSlow,
    /// Writes answer 409.
    Conflict,
    /// Requests answer 429 with `Retry-After`.
    Throttle,
    /// Watches break off.
    WatchDrop,
    /// The history of the API server is compacted: watches get 410.
    Gone,
    /// A node stops answering.
    NodeLoss,
    /// The metric store cannot be reached.
    MetricsDown,
    /// The metric store has no data.
    NoData,
    /// The metric store's data are NaN.
    NotANumber,
    /// The metric store lags behind.
    MetricsDelay,
    /// The namespaces' quotas allow no more pods.
    Quota,
    /// Routers accept what is written and do not follow it.
    RouterStuck,
    /// Routers follow late.
    RouterLate,
    /// Somebody else takes the Lease.
    LeaseStolen,
    /// The database snapshot ends `failed`.
    SnapshotFail,
    /// Terraform refuses.
    TerraformFail,
    /// The exclusive device of the Pi is in use.
    DeviceBusy,
    /// Watches show changes late.
    StaleRead,
    /// The API server refuses the credentials.
    TokenExpired,
    /// One region cannot be reached from the operator's machine, which is not told so.
    Partition,
    /// The image registry gives no images.
    RegistryDown,
    /// Requests that use a dependency fail, whatever the version.
    Dependency,
    /// Jobs never end.
    HookHang,
    /// Another operator scales a workload.
    OperatorScales,
    /// Another operator sets another image.
    OperatorSetsImage,
    /// Another operator edits the selector of a Service.
    OperatorEditsService,
    /// More users come.
    LoadRise,
    /// The namespaces' quotas shrink below what runs.
    QuotaShrink,
    /// The API server can store nothing more.
    DiskFull,
    /// The clock of the operator's machine jumps.
    ClockJump,
    /// The operator's machine stands still.
    Suspend,
}

mod table;
use table::{Amount, Row, TABLE};

impl FaultKind {
    fn row(self) -> &'static Row {
        TABLE.iter().find(|row| row.1 == self).expect("every kind of fault has a row in the table")
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// True if it changes how pods behave.
    #[must_use]
    pub fn on_pods(self) -> bool {
        matches!(
            self,
            Self::CrashLoop
                | Self::ErrorSpike
                | Self::SharedErrorSpike
                | Self::Latency
                | Self::SmokeFail
                | Self::ImageMissing
                | Self::ConfigMissing
                | Self::SlowStart
                | Self::Unready
                | Self::PodCrashAfter
                | Self::RegistryDown
                | Self::Dependency
                | Self::HookHang
        )
    }

    /// True if it hits every version, and not the one under test alone.
    #[must_use]
    pub fn spares_no_version(self) -> bool {
        matches!(self, Self::SharedErrorSpike | Self::RegistryDown | Self::Dependency | Self::HookHang)
    }

    /// True if it can take capacity or routes away from users.
    #[must_use]
    pub fn disturbs_traffic(self) -> bool {
        self.on_pods()
            || matches!(
                self,
                Self::NodeLoss
                    | Self::RouterStuck
                    | Self::RouterLate
                    | Self::Quota
                    | Self::QuotaShrink
                    | Self::OperatorScales
                    | Self::OperatorSetsImage
                    | Self::OperatorEditsService
                    | Self::LoadRise
                    | Self::StaleRead
            )
    }
}

/// One thing that goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// What.
    pub kind: FaultKind,
    /// How much: percent, milliseconds, seconds or a count, by kind.
    pub amount: f64,
    /// How many seconds it lasts; 0 for good.
    pub seconds: u64,
    /// The component or cluster that it is limited to.
    pub scope: Option<String>,
}

impl Fault {
    /// Every kind of fault.
    #[must_use]
    pub fn kinds() -> Vec<FaultKind> {
        TABLE.iter().map(|row| row.1).collect()
    }

    /// A fault of this kind as it is without arguments.
    #[must_use]
    pub fn usual(kind: FaultKind) -> Self {
        let row = kind.row();
        Self { kind, amount: row.2.usual(), seconds: row.3, scope: None }
    }

    /// Every fault with a line about it.
    #[must_use]
    pub fn list() -> Vec<(String, &'static str)> {
        TABLE
            .iter()
            .map(|(name, _, amount, seconds, description)| {
                let amount = match amount {
                    Amount::None => "",
                    Amount::Percent(_) => "[:PERCENT]",
                    Amount::Millis(_) => "[:MILLISECONDS]",
                    Amount::Seconds(_) => "[:SECONDS]",
                    Amount::Count(_) => "[:COUNT]",
                };
                let lasts = if *seconds > 0 && amount != "[:SECONDS]" { "[:SECONDS]" } else { "" };
                (format!("{name}{amount}{lasts}[:WHERE]"), *description)
            })
            .collect()
    }

    /// True if the fault concerns the cluster of that name.
    #[must_use]
    pub fn hits_cluster(&self, cluster: &str) -> bool {
        self.scope.as_deref().is_none_or(|scope| scope == cluster)
    }

    /// True if the fault concerns the component of that name in the cluster of that name.
    #[must_use]
    pub fn hits_component(&self, cluster: &str, component: &str) -> bool {
        self.scope.as_deref().is_none_or(|scope| scope == component || scope == cluster)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, _, amount, seconds, _) = self.kind.row();
        write!(f, "{name}")?;
        if *amount != Amount::None {
            write!(f, ":{}", self.amount)?;
        }
        if *seconds > 0 {
            write!(f, ":{}", self.seconds)?;
        }
        match &self.scope {
            Some(scope) => write!(f, ":{scope}"),
            None => Ok(()),
        }
    }
}

/// When a fault begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// So many virtual milliseconds after the world began.
    At(Millis),
    /// When the wiring fires this label.
    Label(String),
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(millis) if millis % 1000 == 0 => write!(f, "{}s", millis / 1000),
            Self::At(millis) => write!(f, "{millis}ms"),
            Self::Label(label) => f.write_str(label),
        }
    }
}

/// A fault and when it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduledFault {
    /// What goes wrong.
    pub fault: Fault,
    /// When.
    pub when: When,
}

impl fmt::Display for ScheduledFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.fault, self.when)
    }
}

/// Why a fault could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// No fault has that name.
    #[error("there is no fault `{name}`{}", .near.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    Unknown {
        /// The name.
        name: String,
        /// A name that is much like it.
        near: Option<String>,
    },
    /// More numbers than the fault takes.
    #[error("`{name}` takes no number `{number}`")]
    Surplus {
        /// The fault.
        name: String,
        /// The number.
        number: String,
    },
    /// The time cannot be read.
    #[error("`{when}` is no time: write it as `12m30s`, or as a label such as `weight:25`")]
    When {
        /// What was written.
        when: String,
    },
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        let Some((_, kind, amount, seconds, _)) = TABLE.iter().find(|row| row.0 == name) else {
            let near = TABLE
                .iter()
                .map(|row| (strsim::jaro_winkler(row.0, name), row.0))
                .filter(|(likeness, _)| *likeness > 0.8)
                .max_by(|a, b| a.0.total_cmp(&b.0))
                .map(|(_, near)| near.to_owned());
            return Err(FaultError::Unknown { name: name.to_owned(), near });
        };
        let (mut amount, takes_amount) = (amount.usual(), *amount != Amount::None);
        let (mut lasts, mut scope, mut numbers) = (*seconds, None, 0);
        for part in parts.filter(|part| !part.is_empty()) {
            let Ok(number) = part.trim_end_matches(['%', 's']).parse::<f64>() else {
                scope = Some(part.to_owned());
                continue;
            };
            match (numbers, takes_amount) {
                (0, true) => amount = number,
                (0, false) | (1, true) => lasts = number.max(0.0) as u64,
                _ => return Err(FaultError::Surplus { name: name.to_owned(), number: part.to_owned() }),
            }
            numbers += 1;
        }
        Ok(Self { kind: *kind, amount, seconds: lasts, scope })
    }
}

impl FromStr for ScheduledFault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let (fault, when) = text.split_once('@').unwrap_or((text, "0s"));
        Ok(Self { fault: fault.parse()?, when: parse_when(when)? })
    }
}

fn parse_when(when: &str) -> Result<When, FaultError> {
    if when.contains(':') {
        return Ok(When::Label(when.to_owned()));
    }
    let bad = || FaultError::When { when: when.to_owned() };
    let mut millis = 0.0;
    let mut rest = when.trim();
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
        let unit_end = rest[digits..]
            .find(|c: char| c.is_ascii_digit())
            .map_or(rest.len(), |position| digits + position);
        millis += number
            * match rest[digits..unit_end].trim() {
                "ms" => 1.0,
                "s" => 1000.0,
                "m" => 60_000.0,
                "h" => 3_600_000.0,
                _ => return Err(bad()),
            };
        rest = &rest[unit_end..];
    }
    Ok(When::At(millis as Millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_with_their_arguments_and_time() {
        let fault: ScheduledFault = "error-spike:12:kva-api@12m30s".parse().unwrap();
        assert_eq!(fault.fault.kind, FaultKind::ErrorSpike);
        assert!((fault.fault.amount - 12.0).abs() < 1e-9);
        assert_eq!(fault.fault.scope.as_deref(), Some("kva-api"));
        assert_eq!(fault.when, When::At(750_000));

        let down: ScheduledFault = "api-down:us-east-1:90@weight:25".parse().unwrap();
        assert_eq!((down.fault.seconds, down.when), (90, When::Label("weight:25".into())));
    }

    #[test]
    fn a_fault_is_written_as_it_is_read() {
        for text in ["error-spike:12:kva-api@750s", "api-down:90:us-east-1@weight:25", "crash-loop@0s"] {
            let fault: ScheduledFault = text.parse().unwrap();
            assert_eq!(fault.to_string(), text);
        }
    }

    #[test]
    fn mistakes_are_explained() {
        let unknown = "crashloop@1s".parse::<ScheduledFault>().unwrap_err();
        assert_eq!(unknown.to_string(), "there is no fault `crashloop`; did you mean `crash-loop`?");
        assert!("crash-loop@soon".parse::<ScheduledFault>().is_err());
        assert!("crash-loop:3:4@1s".parse::<ScheduledFault>().is_err());
    }

    #[test]
    fn every_fault_of_the_list_has_its_name_and_line() {
        assert_eq!(Fault::list().len(), TABLE.len());
        for row in TABLE {
            assert_eq!(row.1.name(), row.0);
        }
    }
}
