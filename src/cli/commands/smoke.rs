//! `deployctl smoke ENV`: the smoke tests, now, the way users come.

use crate::cli::CliError;
use crate::cli::args::{PlaceArgs, ReleaseArgs};
use crate::cli::session::Session;
use crate::cli::{flow, wiring};
use crate::domain::error::{Code, Exit, Failure};
use crate::run::smoke_now;

pub fn run(session: &Session, place: &PlaceArgs) -> Result<Exit, CliError> {
    let wanted = session.wanted(&place.env, &place.targets, &ReleaseArgs::default())?;
    if wanted.env.smoke.is_empty() {
        return Err(Failure::new(Code(707), Exit::Usage, format!("{} has no smoke tests", place.env))
            .next("add them under `smoke:`; deployctl schema shows how")
            .into());
    }
    flow::block_on(async {
        let world = wiring::real(&wanted.env).await?;
        let results = smoke_now::run(&world, &wanted.env, &wanted.rendered).await;
        let mut failed = 0;
        for result in &results {
            failed += usize::from(!result.passed);
            if session.json() {
                let line = serde_json::json!({"type": "smoke_tested", "target": result.target, "test": result.test,
                    "passed": result.passed, "detail": result.detail});
                session.print(&format!("{line}\n"));
            } else {
                let mark = if result.passed { "pass" } else { "FAIL" };
                session
                    .print(&format!("{mark}  {:<12} {:<20} {}\n", result.target, result.test, result.detail));
            }
        }
        if failed > 0 {
            return Err(Failure::new(
                Code(708),
                Exit::Internal,
                format!("{failed} of {} smoke tests failed", results.len()),
            )
            .why("nothing was changed")
            .next(format!("deployctl status {}", place.env))
            .into());
        }
        Ok(Exit::Done)
    })
}
