//! What every command has at hand: the flags, the form of the output, and the environment it speaks of.

use super::CliError;
use super::args::{Form, Global, PlaceArgs, ReleaseArgs, SayArgs, When};
use super::report::{self, Format, Output, Printer, Surroundings, outlet};
use crate::config::{self, Overrides};
use crate::domain::environment::Environment;
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::ids::{ComponentId, Revision, TargetId};
use crate::domain::object::Object;
use crate::domain::release::Actor;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// One call of the program.
pub(super) struct Session {
    pub root: PathBuf,
    pub output: Output,
    pub printer: Arc<Printer>,
    /// The environment that the command speaks of, once it is known.
    env: OnceLock<String>,
    quiet: bool,
}

impl Session {
    pub fn new(global: Global) -> Self {
        if global.verbose > 0 {
            let level = ["deployctl=info", "deployctl=debug,kube=info", "debug"]
                [usize::from(global.verbose.min(3)) - 1];
            let filter = tracing_subscriber::EnvFilter::new(level);
            let subscriber =
                tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| outlet::To::Err);
            let _ = subscriber.try_init();
        }
        let format = match global.output {
            Form::Human => Format::Human,
            Form::Json => Format::Json,
            Form::Github => Format::Github,
        };
        let color = match global.color {
            When::Auto => report::ColorChoice::Auto,
            When::Always => report::ColorChoice::Always,
            When::Never => report::ColorChoice::Never,
        };
        let output = Output::new(format, color, &Surroundings::of_stdout());
        let printer = Arc::new(Printer::stdout(output));
        Self { root: global.root, output, printer, env: OnceLock::new(), quiet: false }
    }

    /// One that nobody listens to.
    pub fn quiet() -> Self {
        let output = Output::new(Format::Human, report::ColorChoice::Never, &Surroundings::default());
        let printer = Arc::new(Printer::new(output, Box::new(std::io::sink())));
        Self { root: PathBuf::new(), output, printer, env: OnceLock::new(), quiet: true }
    }

    pub fn json(&self) -> bool {
        self.output.format == Format::Json
    }

    /// Prints what the command is for. A closed pipe ends the output, not the command.
    pub fn print(&self, text: &str) {
        self.printer.print(text);
    }

    /// A sentence: text for people, a `message` event in JSON.
    pub fn say(&self, text: &str) {
        self.print(&report::message(text, &self.output));
    }

    /// Prints beside what the command is for.
    pub fn note(&self, text: &str) {
        if self.quiet {
            return;
        }
        outlet::note(text);
    }

    /// Says why a command ends, and with which exit code.
    pub fn explain_end(&self, error: &CliError) -> Exit {
        match error {
            CliError::Failure(failure) => {
                let named = self.env.get().map(|env| failure.clone().of_environment(env));
                let text = report::failure::render(named.as_ref().unwrap_or(failure), &self.output);
                if self.json() {
                    self.print(&text);
                } else {
                    self.note(&text);
                }
                failure.exit
            }
            CliError::Mistakes(mistakes) => {
                super::commands::validate::print(self, mistakes);
                Exit::Usage
            }
        }
    }

    /// The exit code once it is known whether all was written: what only reads has failed if it was not; what a run came
    /// to stays what it is.
    pub fn account_for_output(&self, exit: Exit, reads: bool) -> Exit {
        let Some(error) = self.printer.lost() else { return exit };
        self.note(&format!("error: some of the output could not be written: {error}\n"));
        outlet::settle(None);
        if reads && matches!(exit, Exit::Done | Exit::Changes) { Exit::Internal } else { exit }
    }

    /// The environment with the command line's layer, and its warnings told.
    pub fn load(&self, name: &str, release: &ReleaseArgs) -> Result<Environment, CliError> {
        self.load_for(name, release, false)
    }

    fn load_for(
        &self,
        name: &str,
        release: &ReleaseArgs,
        records_only: bool,
    ) -> Result<Environment, CliError> {
        let _ = self.env.set(name.to_owned());
        let mut images = Vec::new();
        for text in &release.images {
            let Some((component, image)) = text.split_once('=') else {
                return Err(Failure::new(
                    Code(703),
                    Exit::Usage,
                    format!("--image {text} is not COMPONENT=REF"),
                )
                .next("--image kva-api=ghcr.io/prime-spark/kva-api:1.4.2")
                .into());
            };
            images.push((component.to_owned(), image.to_owned()));
        }
        let overrides =
            Overrides { version: release.version.clone(), images, set: release.set.clone(), records_only };
        let loaded = config::load(&self.root, name, &overrides)?;
        Ok(loaded.environment)
    }

    /// Environment, chosen targets and rendered objects of a release.
    pub fn wanted(&self, name: &str, targets: &[String], release: &ReleaseArgs) -> Result<Wanted, CliError> {
        let mut env = self.load(name, release)?;
        choose_targets(&mut env, targets)?;
        let components = choose_components(&env, &release.components)?;
        let version = version(&env)?;
        let rendered = crate::render::render_targets(&env, &version)?;
        Ok(Wanted { env, version, components, rendered, prune: Vec::new() })
    }

    /// An environment with all its targets, for commands that work from records: its manifests need not be here.
    pub fn whole(&self, name: &str) -> Result<Environment, CliError> {
        self.load_for(name, &ReleaseArgs::default(), true)
    }

    /// An environment for commands that render nothing.
    pub fn place(&self, place: &PlaceArgs) -> Result<Environment, CliError> {
        let mut env = self.whole(&place.env)?;
        choose_targets(&mut env, &place.targets)?;
        Ok(env)
    }
}

/// A release as asked for.
pub(super) struct Wanted {
    pub env: Environment,
    pub version: String,
    pub components: BTreeSet<ComponentId>,
    pub rendered: BTreeMap<TargetId, Vec<Object>>,
    pub prune: Vec<String>,
}

impl Wanted {
    /// Adds what the command line allows beyond what is ordinary.
    pub fn say(mut self, say: &SayArgs) -> Self {
        self.env.take.extend(say.take.iter().cloned());
        self.prune.extend(say.prune.iter().cloned());
        self
    }
}

pub(super) fn choose_targets(env: &mut Environment, names: &[String]) -> Result<(), Failure> {
    if names.is_empty() {
        return Ok(());
    }
    let known: Vec<String> = env.targets.iter().map(|target| target.id.to_string()).collect();
    for name in names {
        if !known.contains(name) {
            return Err(unknown("target", "target", name, &known, &env.name));
        }
    }
    env.targets.retain(|target| names.iter().any(|name| name == target.id.as_str()));
    env.is_part = env.targets.len() < known.len();
    for wave in &mut env.waves {
        wave.retain(|id| names.iter().any(|name| name == id.as_str()));
    }
    env.waves.retain(|wave| !wave.is_empty());
    Ok(())
}

fn choose_components(env: &Environment, names: &[String]) -> Result<BTreeSet<ComponentId>, Failure> {
    let known: Vec<String> = env.components.iter().map(|component| component.id.to_string()).collect();
    for name in names {
        if !known.contains(name) {
            return Err(unknown("component", "component", name, &known, &env.name));
        }
    }
    Ok(names.iter().map(ComponentId::new).collect())
}

/// `what` is none that the environment has; `flag` is where it was written.
pub(super) fn unknown(what: &str, flag: &str, name: &str, known: &[String], env: &str) -> Failure {
    let nearest = crate::domain::diagnostic::nearest(name, known.iter().map(String::as_str));
    let thing = if what == "without" { "target" } else { what };
    let failure = Failure::new(Code(704), Exit::Usage, format!("{env} has no {thing} `{name}`"))
        .why(format!("it has: {}", known.join(", ")));
    match nearest {
        Some(nearest) => failure.next(format!("--{flag} {nearest}")),
        None => failure,
    }
}

/// `12` or `r12`, as written behind `flag` of `command`.
pub(super) fn revision(text: &str, command: &str, flag: &str) -> Result<Revision, Failure> {
    text.strip_prefix('r').unwrap_or(text).parse().map(Revision).map_err(|_| {
        Failure::new(Code(709), Exit::Usage, format!("`{text}` is no release number"))
            .next(format!("deployctl {command} ENV {flag}12"))
            .next("deployctl history ENV, which lists the releases on record")
    })
}

/// The version to deploy.
pub(super) fn version(env: &Environment) -> Result<String, Failure> {
    env.version.clone().ok_or_else(|| {
        Failure::new(Code(705), Exit::Usage, format!("{} names no version to deploy", env.name))
            .next(format!("deployctl {} --version 1.4.2", env.name))
            .next("or set `version:` in its file")
    })
}

/// Who runs this: user, host, CI job.
pub(super) fn actor() -> Actor {
    let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let github = || {
        Some(format!(
            "{}/{}/actions/runs/{}",
            var("GITHUB_SERVER_URL")?,
            var("GITHUB_REPOSITORY")?,
            var("GITHUB_RUN_ID")?
        ))
    };
    let uname = rustix::system::uname();
    Actor {
        user: var("DEPLOYCTL_USER")
            .or_else(|| var("USER"))
            .or_else(|| var("LOGNAME"))
            .unwrap_or_else(|| "unknown".to_owned()),
        host: uname.nodename().to_string_lossy().into_owned(),
        ci: var("CI_JOB_URL").or_else(github),
    }
}
