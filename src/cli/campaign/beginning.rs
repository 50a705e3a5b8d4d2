//! How a story begins: the release before, brought into the simulated world by the same code, and users for a while.

use super::theatre::Silence;
use crate::cli::session::{Session, Wanted};
use crate::cli::wiring::Simulated;
use crate::cli::{CliError, flow};
use crate::domain::environment::{Bake, Platform};
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::object::Object;
use crate::run::Ending;
use crate::run::lease::Patience;
use crate::run::prepare;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::watch;

/// Time stands still while anything can run, and jumps when all wait. There is no network: waking up costs no call of
/// the operating system.
pub(in crate::cli) fn virtual_time<T>(
    work: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| {
        CliError::from(
            Failure::new(Code(1), Exit::Internal, "the runtime cannot start").why(error.to_string()),
        )
    })?;
    runtime.block_on(work)
}

/// Components that a route leads to: users send requests to these.
pub(super) fn routed(wanted: &Wanted) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let is_route = |object: &&Object| matches!(object.kind(), "Ingress" | "HTTPRoute" | "VirtualService");
    for object in wanted.rendered.values().flatten().filter(is_route) {
        let name = object.component.as_ref().map(ToString::to_string).unwrap_or_default();
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The release before, brought there by the same code; then users for a while, so that gates have something to compare.
pub(super) async fn baseline(wanted: &Wanted, simulated: &Simulated) -> Result<(), CliError> {
    let mut before = Wanted {
        env: wanted.env.clone(),
        version: version_before(&wanted.version),
        components: BTreeSet::new(),
        rendered: BTreeMap::new(),
        prune: Vec::new(),
    };
    before.env.version = Some(before.version.clone());
    if !matches!(before.env.platform, Platform::Compose { .. }) {
        before.rendered = crate::render::render_targets(&before.env, &before.version)?;
    }
    // What comes before the story needs neither backups nor waiting.
    before.env.backup.rds.clear();
    before.env.terraform = None;
    before.env.bake = Bake::default();
    before.env.approve_waves = None;
    let (doors, _) = simulated.process(&before.env, "baseline");
    let request = flow::request(&before, None, None);
    let plan = prepare::plan(&doors, &request).await?;
    let (_count, interrupts) = watch::channel(0);
    let quiet = Session::quiet();
    let ending = flow::perform(&quiet, &doors, &request, &plan, Patience::None, &Silence, interrupts).await?;
    if ending != Ending::Deployed {
        let why = format!("{ending:?}");
        return Err(Failure::new(
            Code(712),
            Exit::RolledBack,
            "the manifests do not come up in the simulated world",
        )
        .why(why)
        .next(format!("deployctl rehearse {} --from-nothing shows how", wanted.env.name))
        .into());
    }
    drop(doors);
    tokio::time::sleep(flow::WARM_UP).await;
    Ok(())
}

/// One patch version below; `0` for what is no version.
fn version_before(version: &str) -> String {
    let Some((head, patch)) = version.rsplit_once('.') else { return format!("{version}-before") };
    match patch.parse::<u64>() {
        Ok(number) if number > 0 => format!("{head}.{}", number - 1),
        _ => format!("{version}-before"),
    }
}
