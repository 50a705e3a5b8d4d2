//! What a gate's measurements mean. Five different answers, and a breach that stable shares is a sixth.

use crate::domain::gate::{Gate, NoData, Shared};
use crate::ports::metrics::{MetricsError, Reading};

/// What one measurement of both sides says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateVerdict {
    /// Within the limits.
    Healthy,
    /// The new revision breaches a limit that stable keeps (or there is no stable to compare with).
    Bad,
    /// Both breach it: the cause is elsewhere.
    SharedBad,
    /// Too few requests for a verdict.
    NotEnoughData,
    /// The store has nothing about these pods.
    NoData,
    /// The store does not answer.
    BackendDown,
}

impl GateVerdict {
    /// The words for people and NDJSON.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Bad => "bad",
            Self::SharedBad => "shared",
            Self::NotEnoughData => "not enough data",
            Self::NoData => "no data",
            Self::BackendDown => "backend down",
        }
    }
}

/// A measurement of one side.
pub type Measured = Result<Reading, MetricsError>;

/// Judges one measurement of the new revision, and of stable where it serves.
#[must_use]
pub fn judge(gate: &Gate, new: &Measured, stable: Option<&Measured>) -> GateVerdict {
    let Ok(reading) = new else { return GateVerdict::BackendDown };
    if reading.requests.is_some_and(|requests| requests < gate.min_requests as f64) {
        return if reading.requests == Some(0.0) { GateVerdict::NoData } else { GateVerdict::NotEnoughData };
    }
    let Some(value) = reading.value else { return GateVerdict::NoData };
    if !breaches(gate, value) {
        return GateVerdict::Healthy;
    }
    let stable_breaches = stable
        .and_then(|measured| measured.as_ref().ok())
        .and_then(|reading| reading.value)
        .is_some_and(|value| breaches(gate, value));
    if stable_breaches { GateVerdict::SharedBad } else { GateVerdict::Bad }
}

fn breaches(gate: &Gate, value: f64) -> bool {
    gate.max.is_some_and(|max| value > max) || gate.min.is_some_and(|min| value < min)
}

/// The limit as text: `≤ 5.00 %`.
#[must_use]
pub fn limit_text(gate: &Gate) -> String {
    let max = gate.max.map(|max| format!("≤ {}", gate.metric.format(max)));
    let min = gate.min.map(|min| format!("≥ {}", gate.metric.format(min)));
    [max, min].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// What a watch over one gate and component has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing stands against going on when the time is up.
    Pass,
    /// Not to go on yet, and why.
    Wait(String),
    /// Roll back, and why.
    RollBack(String),
}

/// The memory of one gate over one component during a hold.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    breaches: u32,
    last: Option<GateVerdict>,
}

impl Watch {
    /// Takes a measurement in; says at once when it ends the run.
    pub fn observe(&mut self, gate: &Gate, verdict: GateVerdict, shown: &str) -> Decision {
        let counts = verdict == GateVerdict::Bad
            || (verdict == GateVerdict::SharedBad && gate.shared == Shared::Rollback);
        match verdict {
            _ if counts => self.breaches += 1,
            GateVerdict::Healthy | GateVerdict::SharedBad => self.breaches = 0,
            // No verdict is no absolution: a breach before it still counts.
            _ => {}
        }
        self.last = Some(verdict);
        if self.breaches >= gate.breaches.max(1) {
            let limit = limit_text(gate);
            return Decision::RollBack(format!(
                "gate {}: {} {shown}, limit {limit}",
                gate.name,
                gate.metric.label()
            ));
        }
        self.decide(gate)
    }

    /// Whether the hold may end as things stand.
    #[must_use]
    pub fn decide(&self, gate: &Gate) -> Decision {
        let name = &gate.name;
        match self.last {
            None => Decision::Wait(format!("gate {name}: not measured yet")),
            Some(GateVerdict::Healthy) => Decision::Pass,
            Some(GateVerdict::Bad) => Decision::Wait(format!("gate {name}: breached once")),
            Some(GateVerdict::SharedBad) => {
                Decision::Wait(format!("gate {name}: stable breaches the limit too"))
            }
            Some(verdict) => match gate.no_data {
                NoData::Pass => Decision::Pass,
                NoData::Hold | NoData::Fail => Decision::Wait(format!("gate {name}: {}", verdict.label())),
            },
        }
    }

    /// Whether lack of a verdict ends the run as soon as the hold's time is up.
    #[must_use]
    pub fn fails_without_data(&self, gate: &Gate) -> bool {
        let unknown = matches!(
            self.last,
            None | Some(GateVerdict::NotEnoughData | GateVerdict::NoData | GateVerdict::BackendDown)
        );
        unknown && gate.no_data == NoData::Fail
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::gate::Metric;
    use std::time::Duration;

    fn gate() -> Gate {
        Gate {
            name: "error-rate".into(),
            components: vec!["api".into()],
            metric: Metric::ErrorRate,
            max: Some(0.05),
            min: None,
            window: Duration::from_mins(1),
            interval: Duration::from_secs(15),
            breaches: 2,
            min_requests: 20,
            no_data: NoData::Hold,
            shared: Shared::Hold,
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "the form that a store answers in")]
    fn reading(value: Option<f64>, requests: f64) -> Measured {
        Ok(Reading { value, requests: Some(requests) })
    }

    #[test]
    fn each_kind_of_answer_is_told_apart() {
        let down = Err(MetricsError::Down { message: "refused".into() });
        let bad = reading(Some(0.2), 100.0);
        let good = reading(Some(0.01), 100.0);
        let cases = [
            (&good, None, GateVerdict::Healthy),
            (&bad, None, GateVerdict::Bad),
            (&bad, Some(&good), GateVerdict::Bad),
            (&bad, Some(&bad), GateVerdict::SharedBad),
            (&bad, Some(&down), GateVerdict::Bad),
            (&good, Some(&bad), GateVerdict::Healthy),
            (&down, Some(&good), GateVerdict::BackendDown),
        ];
        for (new, stable, verdict) in cases {
            assert_eq!(judge(&gate(), new, stable), verdict);
        }
        assert_eq!(judge(&gate(), &reading(Some(0.5), 4.0), None), GateVerdict::NotEnoughData);
        assert_eq!(judge(&gate(), &reading(None, 0.0), None), GateVerdict::NoData);
        assert_eq!(judge(&gate(), &reading(None, 50.0), None), GateVerdict::NoData);
        assert_eq!(judge(&gate(), &Ok(Reading { value: None, requests: None }), None), GateVerdict::NoData);
    }

    #[test]
    fn two_breaches_in_a_row_roll_back_and_silence_does_not_absolve() {
        let gate = gate();
        let mut watch = Watch::default();
        assert!(matches!(watch.observe(&gate, GateVerdict::Bad, "9 %"), Decision::Wait(_)));
        assert_eq!(watch.observe(&gate, GateVerdict::Healthy, "1 %"), Decision::Pass);
        assert!(matches!(watch.observe(&gate, GateVerdict::Bad, "9 %"), Decision::Wait(_)));
        assert!(matches!(watch.observe(&gate, GateVerdict::NoData, "-"), Decision::Wait(_)));
        assert_eq!(
            watch.observe(&gate, GateVerdict::Bad, "9.00 % (stable 0.10 %)"),
            Decision::RollBack("gate error-rate: error rate 9.00 % (stable 0.10 %), limit ≤ 5.00 %".into())
        );
    }

    #[test]
    fn a_shared_breach_waits_unless_the_environment_says_otherwise() {
        let mut gate = gate();
        let mut watch = Watch::default();
        for _ in 0..10 {
            assert!(matches!(watch.observe(&gate, GateVerdict::SharedBad, ""), Decision::Wait(_)));
        }
        gate.shared = Shared::Rollback;
        watch.observe(&gate, GateVerdict::SharedBad, "");
        assert!(matches!(watch.observe(&gate, GateVerdict::SharedBad, ""), Decision::RollBack(_)));
    }
}
