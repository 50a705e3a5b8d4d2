//! Where a command is given: on a terminal, or in a story that is played. The command is the same.

use super::args::ConsentArgs;
use super::flow::{self, Way};
use super::session::Session;
use super::{CliError, consent};
use crate::domain::error::Failure;
use crate::plan::Plan;
use crate::run::lease::Patience;
use crate::run::prepare::Request;
use crate::run::unfinished::Run;
use crate::run::{Ending, Report, World};
use tokio::sync::watch;

/// Who is asked, who sees a run, and who interrupts it.
pub(super) trait Console {
    /// Where the command prints.
    fn session(&self) -> &Session;
    /// What it was given to go ahead with.
    fn consent(&self) -> &ConsentArgs;
    /// Asks; No is an error.
    fn ask(&self, question: &str) -> Result<(), Failure>;
    /// Shows a plan and asks; says whether there is anything to do.
    fn approve(&self, plan: &Plan) -> Result<bool, CliError>;
    /// Lets a run of this plan go on while it is seen and may be interrupted.
    async fn attend(
        &self,
        world: &World,
        plan: &Plan,
        run: impl AsyncFnOnce(&dyn Report, watch::Receiver<u32>) -> Result<Ending, CliError>,
    ) -> Result<Ending, CliError>;

    /// Performs a new plan.
    async fn perform(
        &self,
        world: &World,
        request: &Request<'_>,
        plan: &Plan,
        patience: Patience,
    ) -> Result<Ending, CliError> {
        self.attend(world, plan, async |report, interrupts| {
            flow::perform(self.session(), world, request, plan, patience, report, interrupts).await
        })
        .await
    }

    /// Goes on with, or takes back, a run that stopped.
    async fn go_on(
        &self,
        world: &World,
        run: &Run,
        patience: Patience,
        way: Way,
    ) -> Result<Ending, CliError> {
        self.attend(world, &run.plan, async |report, interrupts| {
            flow::go_on(self.session(), world, run, patience, way, report, interrupts).await
        })
        .await
    }
}

/// An operator's terminal, or a job of a pipeline.
pub(super) struct Terminal<'a> {
    pub session: &'a Session,
    pub consent: &'a ConsentArgs,
}

impl Console for Terminal<'_> {
    fn session(&self) -> &Session {
        self.session
    }

    fn consent(&self) -> &ConsentArgs {
        self.consent
    }

    fn ask(&self, question: &str) -> Result<(), Failure> {
        consent::ask(question, self.consent.auto_approve)
    }

    fn approve(&self, plan: &Plan) -> Result<bool, CliError> {
        flow::approve(self.session, plan, self.consent)
    }

    async fn attend(
        &self,
        world: &World,
        plan: &Plan,
        run: impl AsyncFnOnce(&dyn Report, watch::Receiver<u32>) -> Result<Ending, CliError>,
    ) -> Result<Ending, CliError> {
        let reporter = flow::reporter(self.session, plan, false);
        flow::interruptible(&reporter, world, plan, async |interrupts| run(&reporter, interrupts).await).await
    }
}
