//! What is typed in a story, done as the commands of the same names do it.

use super::tally::Heard;
use super::theatre::{Elsewhere, End, Story};
use crate::cli::flow::Way;
use crate::cli::session::{Wanted, actor};
use crate::cli::{CliError, absent, flow};
use crate::domain::environment::Platform;
use crate::run::lease::Patience;
use crate::run::prepare::{self, Rollback};
use crate::run::{Ending, World, tampered, unfinished};
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
        let silent = prepare::silent(doors).await?;
        let here = doors.but(silent.keys());
        let Some(run) = unfinished::latest(&here).await?.filter(unfinished::Run::is_unfinished) else {
            return Ok(None);
        };
        let back = run.replayed.phase.cause().map(str::to_owned);
        let silent_here = absent::of_run(&run, &silent);
        if let (None, Some(failure)) = (&back, silent.values().next()) {
            return Err(failure.clone().into());
        }
        let tampered = if back.is_some() { Vec::new() } else { tampered::look(&here, &run).await? };
        let way = Way { back, silent: silent_here, tampered };
        self.go_on(&here, &run, way, interrupts).await.map(Some)
    }

    async fn go_on(
        &self,
        doors: &World,
        run: &unfinished::Run,
        way: Way,
        interrupts: watch::Receiver<u32>,
    ) -> Result<Ending, CliError> {
        let heard = Heard { tally: self.tally, inner: self.audience.report(&run.plan) };
        let session = self.audience.session();
        flow::go_on(session, doors, run, Patience::UntilLapsed, way, &heard, interrupts).await
    }

    /// `deployctl rollback ENV`.
    async fn rollback(
        &self,
        doors: &World,
        interrupts: watch::Receiver<u32>,
    ) -> Result<Option<Ending>, CliError> {
        let silent = prepare::silent(doors).await?;
        let here = doors.but(silent.keys());
        if let Some(run) = unfinished::latest(&here).await?.filter(unfinished::Run::is_unfinished) {
            let back = Some(format!("taken back by {}", actor()));
            let way = Way { back, silent: absent::of_run(&run, &silent), tampered: Vec::new() };
            let ending = self.go_on(&here, &run, way, interrupts.clone()).await?;
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
