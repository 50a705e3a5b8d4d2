//! Which region goes first.

use super::{Traffic, View, rate};
use crate::domain::ids::TargetId;
use std::collections::BTreeMap;

/// A first wave with so many times the traffic of a later one is warned of.
const BUSIER: f64 = 2.0;

/// The wave that goes first should be the one that harms fewest.
pub(super) fn busier_first(views: &[View], waves: &[Vec<TargetId>]) -> Option<String> {
    let mut traffic: BTreeMap<&TargetId, f64> = BTreeMap::new();
    for view in views {
        if let Traffic::Traffic(figures) = &view.traffic {
            *traffic.entry(&view.target).or_default() += figures.median;
        }
    }
    let of = |wave: &Vec<TargetId>| -> Vec<(TargetId, f64)> {
        wave.iter().filter_map(|target| Some((target.clone(), *traffic.get(target)?))).collect()
    };
    let mut live = waves.iter().map(of).filter(|wave| !wave.is_empty());
    let first = live.next()?;
    let busiest = first.iter().max_by(|one, other| one.1.total_cmp(&other.1))?;
    let later: Vec<(TargetId, f64)> = live.flatten().collect();
    let quietest = later.iter().min_by(|one, other| one.1.total_cmp(&other.1))?;
    if busiest.1 < BUSIER * quietest.1 || busiest.1 <= 0.0 {
        return None;
    }
    let times = if quietest.1 > 0.0 {
        format!("{:.0} times the traffic of", busiest.1 / quietest.1)
    } else {
        "traffic, unlike".to_owned()
    };
    Some(format!(
        "{} goes first and has {times} {} ({} and {} requests/s): a fault harms fewer if {} goes first, see `waves`",
        busiest.0,
        quietest.0,
        rate(busiest.1),
        rate(quietest.1),
        quietest.0
    ))
}
