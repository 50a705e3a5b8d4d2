//! What is typed in a story, done as the commands of the same names do it.

use super::tally::Heard;
use super::theatre::{Elsewhere, End, Story};
use crate::cli::session::{Wanted, actor};
use crate::cli::{CliError, flow};
use crate::domain::environment::Platform;
use crate::run::journal::Phase;
use crate::run::lease::Patience;
use crate::run::prepare::{self, Rollback};
use crate::run::{Ending, World, unfinished};
use async_trait::async_trait;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::watch;

impl Story<'_> {
    pub(super) async fn command(
        &self,
        command: &str,
        doors: &World,
        interrupts: watch::Receiver<u32>,
    ) -> End {
        let result = match command {
            "deploy" => self.deploy(doors, interrupts, &self.theatre.wanted).await,
            "resume" => self.resume(doors, interrupts).await,
            _ => self.rollback(doors, interrupts).await,
        };
        match result {
            Ok(Some(ending)) => End::Ended(ending),
            Ok(None) => End::Nothing,
            Err(error) => End::Refused(error),
        }
    }

    /// `deployctl ENV`.
    async fn deploy(
        &self,
        doors: &World,
        interrupts: watch::Receiver<u32>,
        wanted: &Wanted,
    ) -> Result<Option<Ending>, CliError> {
        let request = flow::request(wanted, None, None);
        let plan = prepare::plan(doors, &request).await?;
        let session = self.audience.session();
        flow::preflight(session, wanted, doors, &plan).await?;
        if !self.audience.approves(&plan)? {
            return Ok(None);
        }
        let heard = Heard { tally: self.tally, inner: self.audience.report(&plan) };
        let (patience, request) = (Patience::None, &request);
        flow::perform(session, doors, request, &plan, patience, &heard, interrupts).await.map(Some)
    }

    /// `deployctl resume ENV`.
    async fn resume(
        &self,
        doors: &World,
        interrupts: watch::Receiver<u32>,
    ) -> Result<Option<Ending>, CliError> {
        prepare::reach(doors).await?;
        let Some(run) = unfinished::latest(doors).await?.filter(unfinished::Run::is_unfinished) else {
            return Ok(None);
        };
        let back = match &run.replayed.phase {
            Phase::Aborting { cause, .. } => Some(cause.clone()),
            Phase::Forward | Phase::Interrupted | Phase::Ended { .. } => None,
        };
        self.go_on(doors, &run, back, interrupts).await.map(Some)
    }

    async fn go_on(
        &self,
        doors: &World,
        run: &unfinished::Run,
        back: Option<String>,
        interrupts: watch::Receiver<u32>,
    ) -> Result<Ending, CliError> {
        let heard = Heard { tally: self.tally, inner: self.audience.report(&run.plan) };
        let session = self.audience.session();
        flow::go_on(session, doors, run, Patience::UntilLapsed, back, &heard, interrupts).await
    }

    /// `deployctl rollback ENV`.
    async fn rollback(
        &self,
        doors: &World,
        interrupts: watch::Receiver<u32>,
    ) -> Result<Option<Ending>, CliError> {
        prepare::reach(doors).await?;
        if let Some(run) = unfinished::latest(doors).await?.filter(unfinished::Run::is_unfinished) {
            let cause = format!("taken back by {}", actor());
            let ending = self.go_on(doors, &run, Some(cause), interrupts.clone()).await?;
            if ending != Ending::Deployed {
                return Ok(Some(ending));
            }
        }
        let env = self.theatre.wanted.env.clone();
        let (components, rendered) = (BTreeSet::new(), BTreeMap::new());
        let wanted = Wanted { env, version: String::new(), components, rendered, prune: Vec::new() };
        let request = flow::request(&wanted, Some(Rollback::Previous), None);
        let plan = prepare::plan(doors, &request).await?;
        if !self.audience.approves(&plan)? {
            return Ok(None);
        }
        let heard = Heard { tally: self.tally, inner: self.audience.report(&plan) };
        let session = self.audience.session();
        let patience = Patience::UntilLapsed;
        flow::perform(session, doors, &request, &plan, patience, &heard, interrupts).await.map(Some)
    }
}

#[async_trait(?Send)]
impl Elsewhere for Story<'_> {
    /// Another operator types `deployctl ENV --version NEXT`.
    async fn second_release(&self) {
        let (_, doors, _) = self.doors("second");
        let mut wanted = Wanted {
            env: self.theatre.wanted.env.clone(),
            version: format!("{}-second", self.theatre.wanted.version),
            components: BTreeSet::new(),
            rendered: BTreeMap::new(),
            prune: Vec::new(),
        };
        wanted.env.version = Some(wanted.version.clone());
        if !matches!(wanted.env.platform, Platform::Compose { .. }) {
            let Ok(rendered) = crate::render::render_targets(&wanted.env, &wanted.version) else { return };
            wanted.rendered = rendered;
        }
        let (_count, interrupts) = watch::channel(0);
        if let Ok(Some(_)) = self.deploy(&doors, interrupts, &wanted).await {
            self.overtaken.set(true);
        }
    }
}
