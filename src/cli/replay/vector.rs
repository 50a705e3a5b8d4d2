//! One recorded stream: ready blocks, or raw samples of targets that are aligned first.

use super::compare::Expected;
use super::fields::{Fields, number};
use crate::rollout::sequential::{Arm, Block, Burst, Counters, Counts};
use serde_json::value::RawValue;

/// A recorded stream.
pub struct Vector {
    /// Its name, or its place in the file.
    pub name: String,
    /// How bursty its traffic is.
    pub burst: Burst,
    /// Where its blocks come from.
    pub source: Source,
    /// What the recorder expected of each block, where it says so.
    pub expected: Vec<Expected>,
    /// Its last verdict.
    pub last: Option<String>,
    /// Whether it says where it rolls back.
    pub tells_rollback: bool,
    /// That block.
    pub rollback: Option<usize>,
}

/// Where blocks come from.
pub enum Source {
    /// They stand there.
    Blocks(Vec<Block>),
    /// From samples.
    Samples(Raw),
}

/// Raw samples and what is known of their pods.
pub struct Raw {
    pub start: f64,
    pub interval_s: f64,
    pub pods: Vec<(String, Arm, Option<f64>)>,
    pub samples: Vec<(String, f64, Option<Counters>)>,
    /// From when on which weight was in force.
    pub weights: Vec<(f64, f64)>,
}

impl Vector {
    /// Reads a vector; what is wrong is told with its block or sample and its field.
    pub fn of(index: usize, raw: &RawValue) -> Result<Self, String> {
        let fields = Fields::of(raw).map_err(|why| format!("vectors[{index}] {why}"))?;
        let name = fields.text("name").map_err(|why| format!("vectors[{index}]: {why}"))?;
        let name = name.unwrap_or_else(|| format!("vectors[{index}]"));
        Self::read(&name, &fields).map_err(|why| format!("vector {name:?}: {why}"))
    }

    fn read(name: &str, fields: &Fields<'_>) -> Result<Self, String> {
        let steps = fields.list("steps")?;
        let samples = fields.list("samples")?;
        let burst = burst(fields, steps.as_deref(), samples.as_deref())?;
        let bounds = burst.latency.len();
        let mut blocks = Vec::new();
        let mut expected = Vec::new();
        for (index, raw) in steps.iter().flatten().enumerate() {
            let before: Option<&Step> = blocks.last();
            let step = step(raw, bounds, before.map_or(0.0, |step| step.at), samples.is_some());
            let (step, expects) = step.map_err(|why| format!("block {index}: {why}"))?;
            blocks.push(step);
            expected.push(expects);
        }
        let source = match samples {
            Some(samples) => Source::Samples(raw(fields, &samples, bounds, &blocks)?),
            None if steps.is_some() => Source::Blocks(blocks.into_iter().map(Step::block).collect()),
            None => return Err("neither steps nor samples are there".to_owned()),
        };
        Ok(Self {
            name: name.to_owned(),
            burst,
            source,
            expected,
            last: fields.text("final")?,
            tells_rollback: fields.names().any(|name| name == "rollback_block"),
            rollback: fields.count("rollback_block")?.map(|block| block as usize),
        })
    }
}

/// One of `steps`.
struct Step {
    at: f64,
    dt: f64,
    weight: Option<f64>,
    canary: Counts,
    control: Counts,
}

impl Step {
    fn block(self) -> Block {
        let Self { at, dt, weight, canary, control } = self;
        Block { at, dt, weight, canary, control }
    }
}

/// Burst factors; without them events are independent, in as many bounds as the data have.
fn burst(
    fields: &Fields<'_>,
    steps: Option<&[&RawValue]>,
    samples: Option<&[&RawValue]>,
) -> Result<Burst, String> {
    let errors = fields.number("phi_err")?.unwrap_or(1.0);
    let latency = match fields.numbers("phi_lat")? {
        Some(latency) => latency,
        None => vec![1.0; bounds_seen(steps, samples)],
    };
    let named = latency.iter().enumerate().map(|(bound, phi)| (format!("phi_lat[{bound}]"), *phi));
    for (name, phi) in std::iter::once(("phi_err".to_owned(), errors)).chain(named) {
        if !(1.0..=1e6).contains(&phi) {
            return Err(format!("{name} is {phi}, not within 1 and 1000000"));
        }
    }
    Ok(Burst { errors, latency })
}

fn bounds_seen(steps: Option<&[&RawValue]>, samples: Option<&[&RawValue]>) -> usize {
    if let Some(samples) = samples {
        let values = samples.iter().find_map(|raw| Fields::of(raw).ok()?.list("v").ok()?);
        return values.map_or(0, |values| values.len().saturating_sub(2));
    }
    let first = steps.and_then(|steps| Fields::of(steps.first()?).ok());
    let canary = first.and_then(|step| step.object("canary").ok()?);
    canary.and_then(|canary| canary.list("slow").ok()?).map_or(0, |slow| slow.len())
}

/// Reads a step; beside samples its counts are what the alignment is expected to give, and may be missing.
fn step(raw: &RawValue, bounds: usize, before: f64, aligned: bool) -> Result<(Step, Expected), String> {
    let fields = Fields::of(raw)?;
    let dt = match fields.count("dt")? {
        None if aligned => fields.wanted("t")? - before,
        None => return Err("dt is missing".to_owned()),
        Some(dt) => dt,
    };
    let at = fields.number("t")?.unwrap_or(before + dt);
    let weight = fields.count("weight")?;
    if let Some(weight) = weight.filter(|weight| *weight > 1.0) {
        return Err(format!("weight is {weight}, above 1"));
    }
    let arm = |name: &str| match fields.object(name)? {
        Some(counts_of) => counts(&counts_of, bounds).map_err(|why| format!("{name}.{why}")).map(Some),
        None if aligned => Ok(None),
        None => Err(format!("{name} is missing")),
    };
    let (canary, control) = (arm("canary")?, arm("control")?);
    let mut expected = Expected::of(fields.object("expect")?.as_ref())?;
    if aligned {
        expected.block = Some((at, dt, canary.clone(), control.clone()));
    }
    let (canary, control) = (canary.unwrap_or_default(), control.unwrap_or_default());
    Ok((Step { at, dt, weight, canary, control }, expected))
}

fn counts(fields: &Fields<'_>, bounds: usize) -> Result<Counts, String> {
    let requests = fields.count("n")?.ok_or("n is missing")?;
    let errors = fields.count("err")?.ok_or("err is missing")?;
    let timed = fields.count("n_lat")?.unwrap_or(requests);
    let slow = fields.numbers("slow")?.unwrap_or_default();
    if slow.len() != bounds {
        return Err(format!("slow has {} values, phi_lat says {bounds}", slow.len()));
    }
    if let Some((bound, value)) = slow.iter().enumerate().find(|(_, value)| **value < 0.0) {
        return Err(format!("slow[{bound}] is negative: {value}"));
    }
    Ok(Counts { requests, errors, timed, slow })
}

fn raw(fields: &Fields<'_>, samples: &[&RawValue], bounds: usize, steps: &[Step]) -> Result<Raw, String> {
    let targets = fields.object("targets")?.ok_or("targets is missing")?;
    let mut pods = Vec::new();
    for (name, raw) in targets.iter() {
        pods.push(pod(name, raw).map_err(|why| format!("targets.{name}: {why}"))?);
    }
    let mut taken = Vec::new();
    for (index, raw) in samples.iter().enumerate() {
        let sample = sample(raw, bounds, &pods).map_err(|why| format!("sample {index}: {why}"))?;
        taken.push(sample);
    }
    let first = taken.first().map_or(0.0, |(_, at, _)| *at);
    let start = fields.number("start")?.unwrap_or(first);
    let mut weights: Vec<_> =
        fields.count("weight")?.map(|weight| (start, weight.min(1.0))).into_iter().collect();
    weights.extend(steps.iter().filter_map(|step| Some((step.at - step.dt, step.weight?))));
    let interval_s = fields.count("scrape_s")?.unwrap_or(15.0);
    Ok(Raw { start, interval_s, pods, samples: taken, weights })
}

fn pod(name: &str, raw: &RawValue) -> Result<(String, Arm, Option<f64>), String> {
    let fields = Fields::of(raw)?;
    let arm = match fields.text("arm")?.as_deref() {
        Some("canary") => Arm::Canary,
        Some("control") => Arm::Control,
        Some(other) => return Err(format!("arm is {other:?}, neither canary nor control")),
        None => return Err("arm is missing".to_owned()),
    };
    Ok((name.to_owned(), arm, fields.number("born")?))
}

/// Reads a sample: `v` is `[requests, errors, requests within each bound …]`, with the histogram's `+Inf` bucket last if
/// it has one more; `null`, or a value in it, is a scrape that failed.
fn sample(
    raw: &RawValue,
    bounds: usize,
    pods: &[(String, Arm, Option<f64>)],
) -> Result<(String, f64, Option<Counters>), String> {
    let fields = Fields::of(raw)?;
    let target = fields.text("target")?.ok_or("target is missing")?;
    if !pods.iter().any(|(name, ..)| *name == target) {
        return Err(format!("target {target:?} is not among targets"));
    }
    let at = fields.wanted("t")?;
    let Some(list) = fields.list("v")? else { return Ok((target, at, None)) };
    let mut values = Vec::with_capacity(list.len());
    for (index, raw) in list.into_iter().enumerate() {
        let value = if raw.get() == "null" { Ok(f64::NAN) } else { number(raw) };
        values.push(value.map_err(|why| format!("v[{index}] {why}"))?);
    }
    let timed = match values.len() {
        length if length == bounds + 2 => None,
        length if length == bounds + 3 => values.pop(),
        length => return Err(format!("v has {length} values, not {} or {}", bounds + 2, bounds + 3)),
    };
    let within = values.split_off(2);
    Ok((target, at, Some(Counters { requests: values[0], errors: values[1], timed, within })))
}
