//! Sizes of workloads: set by steps, kept up during holds, and guarded against autoscalers.

use super::perform::{Stand, StepError};
use crate::domain::effect::{Carries, Demand, Follow, Size};
use crate::domain::event::Kind;
use crate::domain::object::ObjectRef;
use crate::plan::contest::Verdict;
use crate::ports::cluster::{Applied, ClusterError, Terms};
use crate::rollout::{autoscaler, share};
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// From one look at what a hold's workloads shall keep up with to the next: an autoscaler's own period.
pub(super) const LOOK: Duration = Duration::from_secs(15);
/// Longest time for one such look: gates do not wait for it.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);

impl Stand<'_> {
    pub(super) async fn scale(&self, workload: &ObjectRef, to: &Size) -> Result<String, StepError> {
        let cluster = self.cluster()?;
        let size = self.size(to).await?;
        let what = format!("scale {workload} to {size}");
        match self.in_contact(&what, async || cluster.scale(workload, size).await).await {
            Ok(before) => Ok(format!("{before} → {size} pods")),
            // A rollback may come upon a workload that was never made.
            Err(_) if size == 0 && self.is_absent(workload).await? => Ok("was never there".to_owned()),
            Err(error) => Err(error),
        }
    }

    /// The size in pods, as things are now.
    pub(super) async fn size(&self, to: &Size) -> Result<u32, StepError> {
        Ok(match to {
            Size::Exactly(size) => *size,
            Size::SameAs { workload, floor, demand } => {
                self.full_size(workload, *floor, demand.as_ref()).await?
            }
            Size::PartOf { workload, percent, floor, demand, least } => {
                let whole = self.full_size(workload, *floor, demand.as_ref()).await?;
                share::part_or_least(whole, *percent, *least)
            }
            Size::ShareBeside { workload, percent } => {
                share::pods_beside(self.size_of(workload).await?, *percent)
            }
        })
    }

    /// What a workload would need to carry all of the load by itself.
    async fn full_size(
        &self,
        workload: &ObjectRef,
        floor: u32,
        demand: Option<&Demand>,
    ) -> Result<u32, StepError> {
        let size = self.size_of(workload).await?;
        let asked = match demand {
            Some(demand) => self.demanded(size, demand).await?,
            None => None,
        };
        Ok(size.max(floor).max(asked.unwrap_or(0)))
    }

    /// What the load asks for, as far as the autoscaler tells.
    pub(super) async fn demanded(&self, size: u32, demand: &Demand) -> Result<Option<u32>, StepError> {
        let cluster = self.cluster()?;
        let share = match &demand.carries {
            Carries::Percent(percent) => f64::from(*percent) / 100.0,
            Carries::Beside(other) => {
                let beside = self.size_of(other).await?;
                f64::from(size) / f64::from((size + beside).max(1))
            }
        };
        let read = self.in_contact("read the load", async || cluster.get(&demand.autoscaler).await).await;
        match read {
            Err(error) if error.unknown => Err(error),
            // It is not there, or not for us to read: stable's own size has to do.
            Err(_) | Ok(None) => Ok(None),
            Ok(Some(live)) => Ok(autoscaler::asks_for(&live, size, share)),
        }
    }

    async fn is_absent(&self, workload: &ObjectRef) -> Result<bool, StepError> {
        let cluster = self.cluster()?;
        let live = self.in_contact("look again", async || cluster.get(workload).await).await?;
        Ok(live.is_none())
    }

    /// `spec.replicas` of the live workload; 0 if it is not there.
    pub(super) async fn size_of(&self, workload: &ObjectRef) -> Result<u32, StepError> {
        let cluster = self.cluster()?;
        let what = format!("read the size of {workload}");
        let replicas = self.in_contact(&what, async || cluster.replicas(workload).await).await?;
        Ok(replicas.unwrap_or(0))
    }

    /// Grows what has to keep up with the load. A look that fails is made up for by the next one.
    pub(super) async fn keep_up(&self, follow: &[Follow], due: &mut Instant) {
        let now = Instant::now();
        if follow.is_empty() || *due > now {
            return;
        }
        *due = now + LOOK;
        for Follow { workload, to } in follow {
            let grown = tokio::time::timeout(LOOK_TIMEOUT, self.grow(workload, to)).await;
            if let Ok(Ok(Some(grown))) = grown {
                self.progress(format!("{} grows with the load: {grown}", workload.name));
            }
        }
    }

    /// To at least that size; `None` if it has it. One without pods is not brought back.
    async fn grow(&self, workload: &ObjectRef, to: &Size) -> Result<Option<String>, StepError> {
        let (now, wanted) = (self.size_of(workload).await?, self.size(to).await?);
        if now == 0 || wanted <= now {
            return Ok(None);
        }
        self.may_write().await?;
        self.scale(workload, &Size::Exactly(wanted)).await.map(Some)
    }

    /// Applies autoscalers with a lower bound of the workload's present size, or of the one that is given.
    pub(super) async fn guard(
        &self,
        autoscalers: &[usize],
        workload: &ObjectRef,
        to: Option<&Size>,
    ) -> Result<String, StepError> {
        let size = match to {
            Some(to) => self.size(to).await?,
            None => self.size_of(workload).await?,
        };
        let mut told = Vec::new();
        for index in autoscalers {
            let reference = self.object(*index).reference();
            let value = autoscaler::floored(&self.object(*index).value, size);
            let fewest = autoscaler::fewest(&value).unwrap_or(1);
            self.may_write().await?;
            told.push(match self.apply_bound(&reference, &value).await? {
                Ok(_) => format!("{reference} keeps at least {fewest} pods of {}", workload.name),
                Err(owners) => {
                    let message = format!(
                        "{reference} may shrink {} while it is needed for a way back: {owners}",
                        workload.name
                    );
                    let (severity, target) = ("warning", Some(self.target.clone()));
                    self.teller.tell(Kind::Alert { severity, target, message });
                    format!("{reference} is left as it is")
                }
            });
        }
        Ok(told.join("; "))
    }

    /// Bounds that somebody else keeps are theirs, in their words; on a way back nobody's.
    async fn apply_bound(
        &self,
        reference: &ObjectRef,
        value: &Value,
    ) -> Result<Result<Applied, String>, StepError> {
        let cluster = self.cluster()?;
        let what = format!("guard {reference}");
        let sent = self
            .in_contact(&what, async || match cluster.apply(value, Terms::PLAIN).await {
                Err(error @ ClusterError::Contested { .. }) => Ok(Err(error)),
                result => result.map(Ok),
            })
            .await?;
        let error = match sent {
            Ok(applied) => return Ok(Ok(applied)),
            Err(error) => error,
        };
        let ClusterError::Contested { fields } = &error else {
            return Err(StepError::of(&what, &error));
        };
        let live = self.in_contact(&what, async || cluster.get(reference).await).await?;
        let contests = self.settle(None, &mut value.clone(), &live.unwrap_or_default(), fields);
        let ours = |verdict| matches!(verdict, Verdict::Taken | Verdict::Adopted);
        if self.back || contests.iter().all(|contest| ours(contest.verdict)) {
            let forced = self.in_contact(&what, async || cluster.apply(value, Terms::FORCED).await).await?;
            return Ok(Ok(forced));
        }
        Ok(Err(error.to_string()))
    }
}
