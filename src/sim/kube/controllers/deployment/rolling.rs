//! How many pods each `ReplicaSet` of a Deployment should have next.

use serde_json::Value;

use super::{DESIRED, MAXIMUM, ME, View};
use crate::sim::kube::controllers::{Context, object};
use crate::sim::kube::kinds::KindId;
use crate::sim::kube::store::Stored;

/// Moves one step from the old `ReplicaSets` to the new one; true if something was scaled.
pub fn step(cx: &mut Context<'_>, view: &View) -> bool {
    let Some(new) = view.new_set() else {
        return false;
    };
    let current = object::count(new, &["spec", "replicas"]);
    let wanted = if current > view.replicas { view.replicas } else { new_set_size(view, current) };
    if wanted != current {
        return resize(cx, view, new, wanted);
    }
    if view.recreate { false } else { shrink_old(cx, view) }
}

/// The size of the new `ReplicaSet` that the surge allows now; `current` is its size.
pub fn new_set_size(view: &View, current: i64) -> i64 {
    if view.recreate {
        return view.replicas;
    }
    let total = view.total(&["spec", "replicas"]);
    let room = view.replicas + view.max_surge - total;
    if room <= 0 {
        return current;
    }
    current + room.min(view.replicas - current).max(0)
}

/// Scales the old `ReplicaSets` down as far as enough pods stay available: first what is not available, then the rest.
fn shrink_old(cx: &mut Context<'_>, view: &View) -> bool {
    let mut old: Vec<(&Value, i64)> =
        view.old_sets().map(|set| (set.value(), object::count(set, &["spec", "replicas"]))).collect();
    if old.iter().all(|(_, size)| *size == 0) {
        return false;
    }
    let least = view.replicas - view.max_unavailable;
    let new_missing = view.new_set().map_or(0, |set| {
        object::count(set, &["spec", "replicas"]) - object::count(set, &["status", "availableReplicas"])
    });
    let mut budget = view.total(&["spec", "replicas"]) - least - new_missing;
    if budget <= 0 {
        return false;
    }
    let mut scaled = false;
    for (set, size) in &mut old {
        let unavailable = *size - object::count(set, &["status", "availableReplicas"]);
        let less = unavailable.min(budget);
        if less > 0 {
            scaled |= resize(cx, view, set, *size - less);
            budget -= less;
            *size -= less;
        }
    }
    let mut spare = view.total(&["status", "availableReplicas"]) - least;
    for (set, size) in &old {
        let less = (*size).min(spare);
        if less > 0 {
            scaled |= resize(cx, view, set, size - less);
            spare -= less;
        }
    }
    scaled
}

/// Scales every old `ReplicaSet` to zero, as Recreate begins.
pub fn scale_down_all_old(cx: &mut Context<'_>, view: &View) {
    for set in view.old_sets() {
        if object::count(set, &["spec", "replicas"]) > 0 {
            resize(cx, view, set, 0);
        }
    }
}

/// Brings the `ReplicaSets` to a changed `spec.replicas`: the only one as a whole, several in proportion to their size.
pub fn scale(cx: &mut Context<'_>, view: &View) {
    let running: Vec<_> =
        view.sets.iter().filter(|set| object::count(set, &["spec", "replicas"]) > 0).collect();
    match (running.as_slice(), view.new_set()) {
        ([], Some(newest)) => {
            resize(cx, view, newest, view.replicas);
        }
        ([only], _) => {
            resize(cx, view, only, view.replicas);
        }
        ([], None) => {}
        (several, _) => scale_in_proportion(cx, view, several),
    }
}

fn scale_in_proportion(cx: &mut Context<'_>, view: &View, sets: &[&std::sync::Arc<Stored>]) {
    let total: i64 = sets.iter().map(|set| object::count(set, &["spec", "replicas"])).sum();
    let allowed = if view.replicas == 0 { 0 } else { view.replicas + view.max_surge };
    let to_add = allowed - total;
    let mut sizes: Vec<_> = sets.iter().map(|set| object::count(set, &["spec", "replicas"])).collect();
    let before: i64 = object::annotation(sets[0], MAXIMUM)
        .parse()
        .ok()
        .filter(|maximum| *maximum > 0)
        .unwrap_or(total.max(1));
    let mut left = to_add;
    for size in &mut sizes {
        let share = ((*size * allowed) as f64 / before as f64).round() as i64 - *size;
        let share = if to_add > 0 { share.clamp(0, left.max(0)) } else { share.clamp(left.min(0), 0) };
        *size += share;
        left -= share;
    }
    if let Some(last) = sizes.last_mut() {
        *last = (*last + left).max(0);
    }
    for (set, size) in sets.iter().zip(sizes) {
        resize(cx, view, set, size);
    }
}

/// Writes a `ReplicaSet`'s size, and the sizes it was computed from; true if the size changed.
fn resize(cx: &mut Context<'_>, view: &View, set: &Value, size: i64) -> bool {
    let before = object::count(set, &["spec", "replicas"]);
    let (desired, maximum) = (view.replicas.to_string(), (view.replicas + view.max_surge).to_string());
    cx.modify(KindId::REPLICA_SETS, set, ME, |set| {
        set["spec"]["replicas"] = size.into();
        object::set(set, &["metadata", "annotations", DESIRED], desired.into());
        object::set(set, &["metadata", "annotations", MAXIMUM], maximum.into());
    });
    if before == size {
        return false;
    }
    let direction = if size > before { "up" } else { "down" };
    let message = format!("Scaled {direction} replica set {} from {before} to {size}", object::name(set));
    cx.event(&view.deployment, ME, false, "ScalingReplicaSet", &message);
    true
}
