//! Shorter holds: what a story of an hour shows, one of minutes shows too, as long as every gate can still decide in
//! every hold.

use crate::domain::environment::{Environment, Strategy};
use crate::domain::gate::{Gate, Metric};
use crate::domain::units::human;
use std::time::Duration;

/// Faults, crashes and operators' commands need some time to fall into.
const AT_LEAST: Duration = Duration::from_mins(1);
/// What a comparison with stable needs to be sure of what a fault of the simulation does.
const TO_COMPARE: Duration = Duration::from_mins(5);

/// What the slowest gate needs to end a run, in whole seconds: its window filled, and all the breaches it waits for.
pub(in crate::cli) fn decisive(env: &Environment) -> Duration {
    let need = |gate: &Gate| {
        let breaches = gate.window + gate.interval * gate.breaches;
        if matches!(gate.metric, Metric::AgainstStable(_)) { breaches.max(TO_COMPARE) } else { breaches }
    };
    let longest = env.gates.iter().map(need).max().unwrap_or_default().max(AT_LEAST);
    Duration::from_secs(longest.as_secs_f64().ceil() as u64)
}

/// No hold and no bake lasts longer than that any more. Whether any did.
pub(super) fn cut(env: &mut Environment, longest: Duration) -> bool {
    let mut holds: Vec<&mut Duration> = vec![&mut env.bake.first, &mut env.bake.later];
    holds.extend(env.one_box.as_mut().map(|one| &mut one.bake));
    for component in &mut env.components {
        match &mut component.strategy {
            Strategy::Canary(canary) => {
                holds.extend(canary.steps.iter_mut().map(|step| &mut step.hold));
                holds.extend(canary.mirror.as_mut().map(|mirror| &mut mirror.hold));
            }
            Strategy::BlueGreen(how) => {
                holds.extend([&mut how.hold, &mut how.preview, &mut how.scale_down_after]);
            }
            Strategy::Rolling | Strategy::Recreate => {}
        }
    }
    let mut any = false;
    for hold in holds.into_iter().filter(|hold| **hold > longest) {
        *hold = longest;
        any = true;
    }
    any
}

/// The flag that cuts them again.
pub(super) fn flag(longest: Duration) -> String {
    format!("--longest-hold {}", human(longest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Overrides};
    use std::path::Path;

    fn production() -> Environment {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        config::load(root, "production", &Overrides::default()).unwrap().environment
    }

    #[test]
    fn holds_are_cut_to_what_the_slowest_gate_needs_and_no_further() {
        let mut env = production();
        let longest = decisive(&env);
        assert_eq!(longest, Duration::from_mins(6), "five minutes of window, four breaches 15 s apart");
        assert!(cut(&mut env, longest));
        assert_eq!(env.bake.first, longest);
        for component in &env.components {
            let Strategy::Canary(canary) = &component.strategy else { panic!("production is a canary") };
            let holds: Vec<u64> = canary.steps.iter().map(|step| step.hold.as_secs() / 60).collect();
            assert_eq!(holds, [5, 6, 6], "{}", component.id);
        }
        assert!(!cut(&mut env, longest), "they are cut once");
    }
}
