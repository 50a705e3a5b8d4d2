//! Weights: written into routes, and counted at the data plane.

use super::perform::{Stand, StepError};
use crate::domain::environment::VersionProbe;
use crate::domain::event::Kind;
use crate::domain::object::ObjectRef;
use crate::domain::units::human;
use crate::ports::probe::HttpQuestion;
use crate::rollout::versions::{self, Count, Share, Tally};
use futures::stream::{self, StreamExt as _};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Questions under way at once while a share is counted.
const ASKED_AT_ONCE: usize = 8;
/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(5);
/// From one look to the next.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a way back waits for a weight to be seen: the canary's Service leads to stable after it.
const BACK: Duration = Duration::from_secs(20);

impl Stand<'_> {
    /// Writes the route at a weight.
    pub(super) async fn weigh(
        &self,
        objects: &[usize],
        percent: u8,
        canaries: &[ObjectRef],
        assumed: Option<&str>,
    ) -> Result<String, StepError> {
        // Its Services stand before the first weight is written, and go after the last.
        if (self.back || percent == 0) && !self.any_there(canaries).await? {
            return Ok("there is no canary to take traffic from".to_owned());
        }
        self.apply(objects).await?;
        if let Some(why) = assumed.filter(|_| !self.back) {
            let component = self.component.map_or("the component", |id| id.as_str());
            let message = format!("{percent} % of {component} is assumed, nobody counted: {why}");
            self.teller.tell(Kind::Alert { severity: "info", target: Some(self.target.clone()), message });
        }
        Ok(format!("{percent} % written"))
    }

    async fn any_there(&self, objects: &[ObjectRef]) -> Result<bool, StepError> {
        let cluster = self.cluster()?;
        let live = self.in_contact("look for the canary", async || cluster.get_all(objects).await).await?;
        Ok(live.iter().any(Option::is_some))
    }

    /// Asks through the public ingress, look by look, until the share is confirmed.
    pub(super) async fn wait_weight(&self, wait: &Weight<'_>) -> Result<String, StepError> {
        if self.back && !self.any_there(wait.canaries).await? {
            return Ok("there is no canary to take traffic from".to_owned());
        }
        let limit = if self.back { BACK.min(wait.timeout) } else { wait.timeout };
        let until = Instant::now() + limit;
        let (mut tally, mut newest) = (Tally::default(), Count::default());
        loop {
            let look = self.count_once(wait, until).await;
            let judged = tally.add(&look, wait.percent, wait.before);
            let over = Instant::now() >= until;
            // The look that the limit cut short before any answer tells nothing.
            if look.all() > 0 || !over {
                newest = look;
            }
            let count = tally.seen(&newest);
            let seen = format!("{} of {} answers came from {}", count.wanted, count.all(), wait.version);
            match judged {
                Share::Confirmed => return Ok(seen),
                Share::Worthless(why) => return Ok(self.by_endpoints(wait, &why)),
                Share::Undecided if tally.is_final(over) => return Ok(self.by_fit(wait, &count, &seen)),
                Share::Undecided | Share::NotYet => {}
            }
            let said = if count.all() == 0 {
                "the router accepted the weight and gives no answers".to_owned()
            } else {
                let (percent, seen) = (wait.percent, count.percent());
                format!("the router accepted {percent} % and {seen:.0} % was seen")
            };
            self.progress(format!("{said} ({seen})"));
            if over && self.back {
                let message = format!("{said}; the canary's Service is led to stable all the same");
                let target = Some(self.target.clone());
                self.teller.tell(Kind::Alert { severity: "warning", target, message });
                return Ok(said);
            }
            if over {
                return Err(StepError::failed(format!("{said}, still so after {}", human(limit))));
            }
            tokio::time::sleep(PAUSE.min(until.saturating_duration_since(Instant::now()))).await;
        }
    }

    /// One look, or what there is time for of it.
    async fn count_once(&self, wait: &Weight<'_>, until: Instant) -> Count {
        let size = versions::look_size(wait.percent, wait.before);
        let answers = stream::iter(0..size).map(|_| self.ask_version(wait)).buffer_unordered(ASKED_AT_ONCE);
        let mut answers = std::pin::pin!(answers.take_until(tokio::time::sleep_until(until)));
        let mut count = Count::default();
        while let Some(told) = answers.next().await {
            count.add(told);
        }
        count
    }

    /// Where the answers fit the weight and the one before alike, nothing speaks against the router: this is told.
    fn by_fit(&self, wait: &Weight<'_>, count: &Count, seen: &str) -> String {
        let Weight { percent, before, .. } = wait;
        let all = count.all();
        let message =
            format!("{seen}: it fits {percent} %, but {all} answers cannot tell it from {before} %");
        let (severity, target) = ("info", Some(self.target.clone()));
        self.teller.tell(Kind::Alert { severity, target, message: message.clone() });
        message
    }

    async fn ask_version(&self, wait: &Weight<'_>) -> Option<versions::Told> {
        let base = self.plan.targets.get(self.target).and_then(|target| target.ingress.as_ref())?;
        let host = wait.probe.host.iter().map(|host| ("Host".to_owned(), host.clone()));
        let question = HttpQuestion {
            method: "GET".to_owned(),
            url: format!("{}{}", base.trim_end_matches('/'), wait.probe.path),
            headers: host.collect::<BTreeMap<_, _>>(),
        };
        let answer = self.world.probe.ask(&question, ANSWER).await.ok()?;
        Some(versions::read(wait.probe, wait.version, &answer))
    }

    /// Where one client's count is worth nothing, the endpoints at least are those of the new revision.
    fn by_endpoints(&self, wait: &Weight<'_>, why: &str) -> String {
        let pods = wait.canaries.iter().map(|service| {
            let ready = self.cluster().map_or(0, |cluster| {
                let snapshots = cluster.follow(&service.namespace);
                let snapshot = snapshots.borrow();
                let endpoints = snapshot.endpoints.get(&service.name).map_or(&[][..], Vec::as_slice);
                endpoints.iter().filter(|endpoint| endpoint.ready).count()
            });
            format!("{} leads to {ready} ready pods", service.name)
        });
        let pods: Vec<String> = pods.collect();
        let message = format!(
            "{} % is assumed: the share cannot be counted from outside ({why}); {}",
            wait.percent,
            pods.join(", ")
        );
        let (severity, target) = ("info", Some(self.target.clone()));
        self.teller.tell(Kind::Alert { severity, target, message: message.clone() });
        message
    }
}

/// A share that is waited for.
pub(super) struct Weight<'a> {
    pub percent: u8,
    pub before: u8,
    pub canaries: &'a [ObjectRef],
    pub probe: &'a VersionProbe,
    pub version: &'a str,
    pub timeout: Duration,
}
