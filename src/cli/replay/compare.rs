//! What a recorder expected, beside what came out.

use super::fields::Fields;
use super::judged::Judged;
use crate::rollout::sequential::Counts;

/// Whether two numbers are the same, within a tolerance that is absolute for small numbers and relative for large ones.
#[must_use]
pub fn close(value: f64, expected: f64, tolerance: f64) -> bool {
    (value - expected).abs() <= tolerance * expected.abs().max(1.0)
}

/// What the recorder expected of a block; what it does not say is not compared.
#[derive(Default)]
pub struct Expected {
    logs: Vec<(String, f64)>,
    latency: Option<Vec<f64>>,
    verdict: Option<String>,
    /// End, length and counts of a block that the alignment is to make.
    pub block: Option<(f64, f64, Option<Counts>, Option<Counts>)>,
}

impl Expected {
    /// Reads what is expected of a block, where anything is.
    pub fn of(fields: Option<&Fields<'_>>) -> Result<Self, String> {
        let Some(fields) = fields else { return Ok(Self::default()) };
        let named = |why| format!("expect.{why}");
        let mut logs = Vec::new();
        for name in fields.names().filter(|name| name.starts_with("ln_") && *name != "ln_lat") {
            logs.extend(fields.number(name).map_err(named)?.map(|value| (name.to_owned(), value)));
        }
        Ok(Self {
            logs,
            latency: fields.numbers("ln_lat").map_err(named)?,
            verdict: fields.text("verdict").map_err(named)?,
            block: None,
        })
    }

    /// The first difference, in words.
    #[must_use]
    pub fn mismatch(&self, judged: &Judged, tolerance: f64) -> Option<String> {
        let counts = self.block.as_ref().and_then(|(at, dt, canary, control)| {
            let times = [("t", judged.block.at, *at), ("dt", judged.block.dt, *dt)];
            let canary = canary.iter().flat_map(|counts| rows("canary", &judged.block.canary, counts));
            let control = control.iter().flat_map(|counts| rows("control", &judged.block.control, counts));
            let times = times.map(|(name, value, expected)| (name.to_owned(), value, expected));
            first_off(times.into_iter().chain(canary).chain(control), tolerance)
        });
        counts.or_else(|| self.logs_off(judged, tolerance)).or_else(|| {
            let verdict = judged.verdict.label();
            let expected = self.verdict.as_deref().filter(|expected| *expected != verdict)?;
            Some(format!("verdict is {verdict}, expected {expected}"))
        })
    }

    fn logs_off(&self, judged: &Judged, tolerance: f64) -> Option<String> {
        let logs = &judged.logs;
        let value = |name: &str| match name {
            "ln_err_ratio" => Some(logs.ln_err_ratio),
            "ln_err_margin" => Some(logs.ln_err_margin),
            "ln_E" => Some(logs.ln_e),
            "ln_safe" => Some(logs.ln_safe),
            "ln_starve" => Some(logs.ln_starve),
            "ln_abs" => Some(logs.ln_abs),
            _ => None,
        };
        let known =
            self.logs.iter().filter_map(|(name, expected)| Some((name.clone(), value(name)?, *expected)));
        let latency = self.latency.as_deref().unwrap_or(&logs.ln_lat);
        if latency.len() != logs.ln_lat.len() {
            return Some(format!("ln_lat has {} values, expected {}", logs.ln_lat.len(), latency.len()));
        }
        let latency = logs.ln_lat.iter().zip(latency).enumerate();
        let latency =
            latency.map(|(bound, (value, expected))| (format!("ln_lat[{bound}]"), *value, *expected));
        first_off(known.chain(latency), tolerance)
    }
}

fn rows<'a>(
    arm: &'a str,
    counts: &'a Counts,
    expected: &'a Counts,
) -> impl Iterator<Item = (String, f64, f64)> + 'a {
    let slow = counts.slow.iter().zip(&expected.slow).enumerate();
    let slow =
        slow.map(move |(bound, (value, expected))| (format!("{arm}.slow[{bound}]"), *value, *expected));
    let whole = [("n", counts.requests, expected.requests), ("err", counts.errors, expected.errors)];
    let whole = whole.map(|(name, value, expected)| (format!("{arm}.{name}"), value, expected));
    whole.into_iter().chain(slow)
}

fn first_off(mut rows: impl Iterator<Item = (String, f64, f64)>, tolerance: f64) -> Option<String> {
    rows.find(|(_, value, expected)| !close(*value, *expected, tolerance))
        .map(|(name, value, expected)| format!("{name} is {value}, expected {expected}"))
}
