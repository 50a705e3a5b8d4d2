//! `deployctl plan ENV`: what a deployment would do; reads only.

use crate::cli::CliError;
use crate::cli::args::PlanArgs;
use crate::cli::session::Session;
use crate::cli::{absent, flow, report, wiring};
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::object::Object;
use crate::domain::secret::is_open;
use crate::plan::{Plan, file};
use crate::run::{debts, prepare};
use std::collections::BTreeSet;

pub fn run(session: &Session, args: &PlanArgs) -> Result<Exit, CliError> {
    let mut wanted =
        session.wanted(&args.what.place.env, &args.what.place.targets, &args.what.release)?.say(&args.say);
    // A name that is wrong is told before any cluster is asked.
    let out = absent::chosen(&wanted.env, &args.without)?;
    absent::somebody_is_left(&wanted.env, &out)?;
    flow::block_on(async {
        let world = wiring::real(&wanted.env).await?;
        debts::leave_out(&mut wanted.env, &out);
        let owed = debts::take_out(&mut wanted.rendered, &out);
        let world = world.but(&out);
        let mut plan = prepare::plan(&world, &flow::request(&wanted, None, None)).await?;
        debts::owe_release(&mut plan, owed);
        session.print(&report::plan::render(&plan, &session.output));
        flow::foresee(session, &world, &plan).await;
        flow::uncontested(&plan)?;
        if let Some(path) = &args.out {
            no_secrets(&plan)?;
            write_whole(path, &file::write(&plan))?;
            let env = &plan.environment;
            session.note(&format!("saved; perform it with: deployctl {env} --plan {}\n", path.display()));
        }
        Ok(if args.detailed_exitcode && plan.has_changes() { Exit::Changes } else { Exit::Done })
    })
}

/// Refuses to write the values of Secrets into a file, which is copied, uploaded and kept.
fn no_secrets(plan: &Plan) -> Result<(), Failure> {
    let holds = |object: &&Object| object.kind() == "Secret" && is_open(&object.value);
    let names: BTreeSet<String> =
        plan.objects.iter().filter(holds).map(|o| o.reference().to_string()).collect();
    if names.is_empty() {
        return Ok(());
    }
    let what = "the file would hold the values of Secrets";
    let failure = Failure::new(Code(312), Exit::Usage, what)
        .why(format!("the manifests hold them: {}", names.into_iter().collect::<Vec<_>>().join(", ")));
    Err(failure
        .next("move them to `secrets: {NAME: {KEY: ${env:VARIABLE}}}` of the environment: a plan then holds a reference")
        .next(format!("deployctl {}, which needs no file", plan.environment)))
}

/// Writes a file whole or not at all.
fn write_whole(path: &std::path::Path, content: &[u8]) -> Result<(), Failure> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".part");
    let written = std::fs::write(&partial, content).and_then(|()| std::fs::rename(&partial, path));
    written.map_err(|error| {
        let _ = std::fs::remove_file(&partial);
        Failure::new(Code(311), Exit::Usage, format!("{} cannot be written", path.display()))
            .why(error.to_string())
    })
}
