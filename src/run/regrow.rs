//! The way back to a stable that was shrunk: traffic returns as its pods become ready.
//!
//! It ends with all traffic on stable, whatever happens. A new revision on its way back is one that failed or that nobody
//! watches any more, so that once the ready limit is over a stable that has too few pods is the better of the two; its
//! pods that are still to come help it, an unwatched share of the new revision helps nobody. Only without a single ready
//! pod of stable does traffic stay where it is answered.

use super::perform::{Stand, StepError};
use crate::domain::effect::{Carries, Demand, Regrow, Rung, Size};
use crate::domain::event::Kind;
use crate::domain::object::ObjectRef;
use crate::domain::observed::Snapshot;
use crate::domain::units::human;
use crate::rollout::share;
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// From one look to the next where no watch tells anything.
const TICK: Duration = Duration::from_secs(5);

impl Stand<'_> {
    /// Brings stable to full size, and its traffic back with it.
    pub(super) async fn regrow(&self, stable: &Regrow) -> Result<String, StepError> {
        let began = Instant::now();
        let mut weight = self.weight_now(stable).await?;
        let full = self.whole(stable, weight).await?;
        let mut snapshots = self.cluster()?.follow(&stable.workload.namespace);
        let ready = counted(&snapshots.borrow_and_update(), stable);
        // What is ready already takes its part before anything is waited for.
        self.lower(stable, &mut weight, full, ready).await?;
        self.enlarge(stable, full).await?;
        let mut told = None;
        loop {
            let ready = counted(&snapshots.borrow_and_update(), stable);
            self.lower(stable, &mut weight, full, ready).await?;
            let name = &stable.workload.name;
            // Whoever waits only waits for the sake of traffic that is still to come.
            let returned = weight == 0 && !stable.routes.is_empty();
            if returned || ready.0 >= full {
                return Ok(format!("{} of {full} pods of {name} are ready, all traffic to them", ready.0));
            }
            if began.elapsed() >= stable.timeout {
                return self.over(stable, full, ready.0).await;
            }
            if told != Some(ready.0) {
                self.progress(format!("{} of {full} pods of {name} are ready, {weight} % wait", ready.0));
                told = Some(ready.0);
            }
            let left = stable.timeout.saturating_sub(began.elapsed()).min(TICK);
            if let Ok(Err(_)) = tokio::time::timeout(left, snapshots.changed()).await {
                return Err(StepError { cause: "the watch ended".to_owned(), unknown: true });
            }
        }
    }

    /// Pods that all of the traffic asks for: its size, or more if the autoscaler says so, whose look may be of a time when
    /// stable carried more, so that both revisions together are enough in any case.
    async fn whole(&self, stable: &Regrow, weight: u8) -> Result<u32, StepError> {
        let size = self.size(&stable.to).await?;
        let Some(autoscaler) = stable.measure.as_ref().filter(|_| weight < 100) else { return Ok(size) };
        let demand = Demand { autoscaler: autoscaler.clone(), carries: Carries::Percent(100 - weight) };
        let (now, beside) = (self.size_of(&stable.workload).await?, self.size_of(&stable.beside).await?);
        let asked = self.demanded(now, &demand).await?.unwrap_or(0);
        Ok(size.max(asked.min(now + beside)))
    }

    /// Its autoscalers first, so that they do not shrink it again. What is refused holds up no traffic.
    async fn enlarge(&self, stable: &Regrow, full: u32) -> Result<(), StepError> {
        let to = Size::Exactly(full);
        let guarded = if stable.autoscalers.is_empty() {
            Ok(String::new())
        } else {
            self.guard(&stable.autoscalers, &stable.workload, Some(&to)).await
        };
        let grown = match self.size_of(&stable.workload).await {
            Ok(size) if size >= full => Ok(String::new()),
            Ok(_) => self.scale(&stable.workload, &to).await,
            Err(error) => Err(error),
        };
        for error in [guarded.err(), grown.err()].into_iter().flatten() {
            if error.unknown {
                return Err(error);
            }
            self.say("warning", format!("{} does not grow: {}", stable.workload.name, error.cause));
        }
        Ok(())
    }

    /// Lowers the weight as far as the ready pods of stable can take what it leaves.
    async fn lower(
        &self,
        stable: &Regrow,
        weight: &mut u8,
        full: u32,
        (ready, beside): (u32, u32),
    ) -> Result<(), StepError> {
        let left = share::left_to_new(full, ready, beside);
        let rung = stable.routes.iter().rev().find(|rung| rung.percent >= left);
        if let Some(rung) = rung.filter(|rung| rung.percent < *weight) {
            self.may_write().await?;
            self.weigh(&rung.objects, rung.percent, &stable.canaries, None).await?;
            *weight = rung.percent;
            let (name, rest) = (&stable.workload.name, 100 - rung.percent);
            self.progress(format!("{rest} % to {name}: {ready} of {full} pods are ready"));
        }
        Ok(())
    }

    /// The time is over: all of it goes to what is there.
    async fn over(&self, stable: &Regrow, full: u32, ready: u32) -> Result<String, StepError> {
        let (name, limit) = (&stable.workload.name, human(stable.timeout));
        if ready == 0 {
            return Err(StepError::failed(format!("no pod of {name} became ready within {limit}")));
        }
        if let Some(last) = stable.routes.last() {
            self.may_write().await?;
            self.weigh(&last.objects, last.percent, &stable.canaries, None).await?;
        }
        let said = format!(
            "{name} gets all traffic with {ready} of {full} pods: no more became ready within {limit}"
        );
        self.say("critical", said.clone());
        Ok(said)
    }

    fn say(&self, severity: &'static str, message: String) {
        self.teller.tell(Kind::Alert { severity, target: Some(self.target.clone()), message });
    }

    /// The weight that the live route has: that of the rung which it agrees with, the highest if with none.
    async fn weight_now(&self, stable: &Regrow) -> Result<u8, StepError> {
        let Some(highest) = stable.routes.first() else { return Ok(0) };
        let cluster = self.cluster()?;
        let canaries = &stable.canaries;
        let there = self.in_contact("look for the canary", async || cluster.get_all(canaries).await).await?;
        if there.iter().all(Option::is_none) {
            return Ok(0);
        }
        let names: Vec<ObjectRef> =
            highest.objects.iter().map(|index| self.object(*index).reference()).collect();
        let live = self.in_contact("read the weight", async || cluster.get_all(&names).await).await?;
        let agrees = |rung: &&Rung| {
            let mut pairs = rung.objects.iter().zip(&live);
            pairs.all(|(index, live)| {
                live.as_ref().is_some_and(|live| holds(live, &self.object(*index).value))
            })
        };
        Ok(stable.routes.iter().rev().find(agrees).unwrap_or(highest).percent)
    }
}

/// Ready pods of stable, and of the revision beside it.
fn counted(snapshot: &Snapshot, stable: &Regrow) -> (u32, u32) {
    let ready = |workload: &ObjectRef| {
        let pods = snapshot.current_pods(workload).into_iter();
        pods.filter(|(_, pod)| pod.ready && !pod.terminating).count() as u32
    };
    (ready(&stable.workload), ready(&stable.beside))
}

/// Whether an object has all fields of another.
fn holds(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| live.get(key).is_some_and(|live| holds(live, wanted)))
        }
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| holds(live, wanted))
        }
        (live, wanted) => live == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_route_agrees_with_the_weight_that_was_written_whatever_the_server_adds() {
        let wanted =
            |weight: u8| json!({"spec": {"rules": [{"backendRefs": [{"name": "a", "weight": weight}]}]}});
        let mut live = wanted(20);
        live["status"] = json!({"parents": []});
        live["spec"]["rules"][0]["backendRefs"][0]["kind"] = json!("Service");
        assert!(holds(&live, &wanted(20)) && !holds(&live, &wanted(10)));
        live["spec"]["rules"] = json!([]);
        assert!(!holds(&live, &wanted(20)));
    }
}
