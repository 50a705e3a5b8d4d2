//! What stands before the vectors: parameters, thresholds, tolerance, and samples of burstiness.

use super::fields::{Fields, list};
use crate::rollout::sequential::{Params, Tolerance, dispersion, factor};
use serde_json::value::RawValue;

/// How to judge the vectors, and how exactly to compare.
pub struct Settings {
    /// The judge's parameters.
    pub params: Params,
    /// Greatest difference that is none.
    pub tolerance: f64,
    /// Names that mean nothing here.
    pub unknown: Vec<String>,
    /// First of the burstiness samples that comes out otherwise.
    pub burst_mismatch: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { params: Params::default(), tolerance: 1e-9, unknown: Vec::new(), burst_mismatch: None }
    }
}

impl Settings {
    /// Takes a top-level field in.
    pub fn take(&mut self, name: &str, raw: &RawValue) -> Result<(), String> {
        match name {
            "params" => self.take_params(&Fields::of(raw).map_err(|why| format!("params {why}"))?),
            "thresholds" => {
                self.take_thresholds(&Fields::of(raw).map_err(|why| format!("thresholds {why}"))?)
            }
            "tolerance" => {
                self.tolerance = super::fields::number(raw).map_err(|why| format!("tolerance {why}"))?;
                Ok(())
            }
            "burstiness" => self.take_burstiness(raw),
            _ => Ok(()),
        }
    }

    fn take_params(&mut self, fields: &Fields<'_>) -> Result<(), String> {
        let known = self.take_numbers(fields)?;
        let listed = self.take_lists(fields)?;
        let unknown = fields.names().filter(|name| !known.contains(name) && !listed.contains(name));
        self.unknown.extend(unknown.map(|name| format!("params.{name}")));
        self.params.check().map_err(|why| format!("params: {why}"))
    }

    fn take_numbers(&mut self, fields: &Fields<'_>) -> Result<Vec<&'static str>, String> {
        let params = &mut self.params;
        let slots = [
            ("alpha", &mut params.alpha),
            ("beta", &mut params.beta),
            ("w_err", &mut params.error_share),
            ("w_lat", &mut params.latency_share),
            ("tau_s", &mut params.tau_s),
            ("starve_r", &mut params.starvation_ratio),
            ("abs_max", &mut params.absolute_max),
            ("min_hold_s", &mut params.min_hold_s),
            ("suspicious", &mut params.suspicious),
            ("no_data_s", &mut params.no_data_s),
        ];
        let mut known = Vec::new();
        for (name, slot) in slots {
            known.push(name);
            if let Some(value) = fields.number(name).map_err(|why| format!("params.{why}"))? {
                *slot = value;
            }
        }
        Ok(known)
    }

    fn take_lists(&mut self, fields: &Fields<'_>) -> Result<Vec<&'static str>, String> {
        let params = &mut self.params;
        let tolerances = [
            ("err", &mut params.errors),
            ("lat", &mut params.latency),
            ("err_safe", &mut params.errors_safe),
            ("lat_safe", &mut params.latency_safe),
        ];
        let mut known = Vec::new();
        for (name, slot) in tolerances {
            known.push(name);
            let mut pair = [slot.ratio, slot.margin];
            fill(fields, name, &mut pair)?;
            *slot = Tolerance { ratio: pair[0], margin: pair[1] };
        }
        fill(fields, "mult", &mut params.multiples)?;
        fill(fields, "prior", &mut params.prior)?;
        fill(fields, "safe_mult", &mut params.safe_multiples)?;
        fill(fields, "starve_mult", &mut params.starvation_multiples)?;
        known.extend(["mult", "prior", "safe_mult", "starve_mult"]);
        Ok(known)
    }

    fn take_thresholds(&mut self, fields: &Fields<'_>) -> Result<(), String> {
        let named = |why| format!("thresholds.{why}");
        self.params.rollback_at = fields.number("rollback").map_err(named)?.or(self.params.rollback_at);
        self.params.promote_at = fields.number("promote").map_err(named)?.or(self.params.promote_at);
        let unknown = fields.names().filter(|name| !["rollback", "promote"].contains(name));
        self.unknown.extend(unknown.map(|name| format!("thresholds.{name}")));
        self.params.check()
    }

    fn take_burstiness(&mut self, raw: &RawValue) -> Result<(), String> {
        for (index, sample) in list(raw).map_err(|why| format!("burstiness {why}"))?.into_iter().enumerate() {
            let found = self.compare_burst(sample).map_err(|why| format!("burstiness[{index}]: {why}"))?;
            let found = found.map(|found| format!("burstiness[{index}]: {found}"));
            self.burst_mismatch = self.burst_mismatch.take().or(found);
        }
        Ok(())
    }

    fn compare_burst(&self, sample: &RawValue) -> Result<Option<String>, String> {
        let fields = Fields::of(sample)?;
        let n = fields.numbers("n")?.ok_or("n is missing")?;
        let k = fields.numbers("k")?.ok_or("k is missing")?;
        if n.len() != k.len() {
            return Err(format!("n has {} values, k has {}", n.len(), k.len()));
        }
        let d = dispersion(&n.into_iter().zip(k).collect::<Vec<_>>());
        for (name, value) in [("D", d), ("phi", factor(d))] {
            if let Some(expected) = fields.number(name)?
                && !super::compare::close(value, expected, self.tolerance)
            {
                return Ok(Some(format!("{name} is {value}, expected {expected}")));
            }
        }
        Ok(None)
    }
}

/// Fills a list of fixed length from a field, if it is there.
fn fill<const N: usize>(fields: &Fields<'_>, name: &str, slot: &mut [f64; N]) -> Result<(), String> {
    let Some(values) = fields.numbers(name).map_err(|why| format!("params.{why}"))? else { return Ok(()) };
    *slot = values
        .try_into()
        .map_err(|values: Vec<f64>| format!("params.{name} has {} values, not {N}", values.len()))?;
    Ok(())
}
