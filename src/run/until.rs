//! What a hold waits for beside its time: enough requests, and a person.

use super::compare::Contest;
use super::control::HoldClock;
use super::hold::{Post, Side};
use super::perform::{Stand, StepError};
use crate::domain::effect::{Effect, Until};
use crate::domain::step::Stage;
use crate::domain::units::human;
use crate::plan::Plan;
use std::time::Duration;
use tokio::time::Instant;

/// How long a plan may wait for persons, all approvals together: that time is not the run's own.
pub(super) fn for_persons(plan: &Plan) -> Duration {
    let approval = |stage: &Stage| {
        let approvals = stage.steps.iter().filter_map(|step| match &step.effect {
            Effect::Hold { until, .. } => until.approval,
            _ => None,
        });
        approvals.map(|approval| approval.within).max().unwrap_or_default()
    };
    plan.stages.iter().map(approval).sum()
}

fn too_few(component: &str, had: f64, wanted: u64) -> String {
    format!("{component} has had {had:.0} of {wanted} requests since the hold began")
}

impl Stand<'_> {
    /// Which component has not had the requests that the hold asks for since it began, if any.
    pub(super) async fn too_few_requests(
        &self,
        posts: &[Post<'_>],
        contests: &[Contest<'_>],
        until: &Until,
        began: Instant,
    ) -> Option<String> {
        if until.requests == 0 {
            return None;
        }
        // Whole seconds, and no window so short that a scrape may be missing in it.
        let window = Duration::from_secs(began.elapsed().as_secs().max(15));
        let mut seen: Vec<&str> = Vec::new();
        // A query of one's own counts no requests: a worker that takes none is not waited for.
        for post in posts.iter().filter(|post| post.gate.metric.counts_requests()) {
            let component = post.arm.component.as_str();
            if seen.contains(&component) {
                continue;
            }
            seen.push(component);
            let had = match self.measured_over(post.gate, post.arm, Side::New, window).await {
                Ok(reading) => reading.requests.unwrap_or(0.0),
                Err(error) => return Some(format!("the metric store gives no answer: {error}")),
            };
            if had < until.requests as f64 {
                return Some(too_few(component, had, until.requests));
            }
        }
        let others = contests.iter().filter(|contest| !seen.contains(&contest.component().as_str()));
        let mut had = others.map(|contest| (contest.component().as_str(), contest.requests()));
        let few = had.find(|(_, had)| *had < until.requests as f64)?;
        Some(too_few(few.0, few.1, until.requests))
    }

    /// Whether the hold waits for a person, and until when; an error when that time is over.
    pub(super) fn approval(
        &self,
        until: &Until,
        clock: &HoldClock<'_>,
        asked: &mut Option<Duration>,
    ) -> Result<Option<Instant>, StepError> {
        let Some(approval) = until.approval.filter(|_| clock.approved().is_none()) else { return Ok(None) };
        let (env, within) = (&self.plan.environment, human(approval.within));
        let since = *asked.get_or_insert_with(|| {
            self.progress(format!("waits for approval, at the most {within}: deployctl approve {env}"));
            clock.elapsed()
        });
        let end = clock.at(since + approval.within);
        if Instant::now() < end {
            return Ok(Some(end));
        }
        Err(StepError::failed(format!("nobody approved within {within}")))
    }
}
