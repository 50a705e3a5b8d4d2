//! What is typed in a story: `resume` and `rollback` are the commands themselves, without a terminal.

use super::tally::Heard;
use super::theatre::{Elsewhere, End, Story};
use crate::cli::args::{ConsentArgs, PlaceArgs, RollbackArgs};
use crate::cli::commands::{resume, rollback};
use crate::cli::console::Console;
use crate::cli::session::{Session, Wanted};
use crate::cli::{CliError, flow};
use crate::domain::environment::Platform;
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::ids::ComponentId;
use crate::plan::Plan;
use crate::run::lease::Patience;
use crate::run::{Ending, Report, World, prepare, unfinished};
use async_trait::async_trait;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::watch;

/// One process of a story, as its command sees it.
struct Played<'a> {
    story: &'a Story<'a>,
    consent: ConsentArgs,
    interrupts: watch::Receiver<u32>,
    /// How the last run that it worked on ended.
    ended: RefCell<Option<Ending>>,
}

impl Console for Played<'_> {
    fn session(&self) -> &Session {
        self.story.audience.session()
    }

    fn consent(&self) -> &ConsentArgs {
        &self.consent
    }

    /// The schedule says what is typed: there is nobody to ask again.
    fn ask(&self, _: &str) -> Result<(), Failure> {
        Ok(())
    }

    fn approve(&self, plan: &Plan) -> Result<bool, CliError> {
        self.story.audience.approves(plan)
    }

    async fn attend(
        &self,
        world: &World,
        plan: &Plan,
        run: impl AsyncFnOnce(&dyn Report, watch::Receiver<u32>) -> Result<Ending, CliError>,
    ) -> Result<Ending, CliError> {
        let heard = Heard { tally: self.story.tally, inner: self.story.audience.report(plan) };
        let ending = run(&heard, self.interrupts.clone()).await?;
        // An older release that is back though a test fails is a good end, too, once it is on record.
        let serves = matches!(ending, Ending::Broken { serves: true, .. });
        let is_over = async || {
            let last = unfinished::latest(world).await.ok().flatten();
            last.is_some_and(|last| !last.is_unfinished())
        };
        if ending == Ending::Deployed || (serves && is_over().await) {
            self.story.stands();
        }
        self.ended.replace(Some(ending.clone()));
        Ok(ending)
    }
}

impl Story<'_> {
    pub(super) async fn command(
        &self,
        command: &str,
        doors: &World,
        interrupts: watch::Receiver<u32>,
    ) -> End {
        let env = &self.theatre.wanted.env;
        let consent = ConsentArgs { auto_approve: true, allow_replace: true, ..ConsentArgs::default() };
        let console = Played { story: self, consent, interrupts, ended: RefCell::default() };
        let result = match command {
            "deploy" => self.deploy(&console, doors, &self.theatre.wanted, self.schedule.only.as_ref()).await,
            "resume" => resume::go(&console, env, doors).await,
            _ => {
                let place = PlaceArgs { env: env.name.clone(), targets: Vec::new() };
                let consent = console.consent.clone();
                let args = RollbackArgs {
                    place,
                    without: Vec::new(),
                    to: None,
                    consent,
                    dry_run: false,
                    despite_damaged_journal: false,
                };
                rollback::go(&console, env.clone(), doors, (None, BTreeSet::new()), &args).await
            }
        };
        match result {
            Ok(_) => console.ended.take().map_or(End::Nothing, End::Ended),
            // Nothing to resume.
            Err(CliError::Failure(failure)) if failure.code == Code(614) => End::Nothing,
            Err(error) => End::Refused(error),
        }
    }

    /// `deployctl ENV`.
    async fn deploy(
        &self,
        console: &Played<'_>,
        doors: &World,
        wanted: &Wanted,
        only: Option<&ComponentId>,
    ) -> Result<Exit, CliError> {
        let mut request = flow::request(wanted, None, None);
        request.components.extend(only.cloned());
        let plan = prepare::plan(doors, &request).await?;
        flow::preflight(console.session(), wanted, doors, &plan).await?;
        if !console.approve(&plan)? {
            return Ok(Exit::Done);
        }
        Ok(flow::exit_of(&console.perform(doors, &request, &plan, Patience::None).await?))
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
        let consent = ConsentArgs::default();
        let console = Played { story: self, consent, interrupts, ended: RefCell::default() };
        if self.deploy(&console, &doors, &wanted, None).await.is_ok() && console.ended.take().is_some() {
            self.overtaken.set(true);
        }
    }
}
