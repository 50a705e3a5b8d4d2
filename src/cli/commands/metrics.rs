//! `deployctl metrics ENV`: the gates, once, of what serves now. `deployctl metrics ENV --replay REV`: what they saw of a
//! release, judged again. `deployctl metrics --replay FILE`: recorded metrics under the judge, block by block, as NDJSON.

use crate::cli::CliError;
use crate::cli::args::{MetricsArgs, PlaceArgs};
use crate::cli::replay::{self, Judged, Settings, Stop, Vector, Visit};
use crate::cli::session::Session;
use crate::cli::{flow, wiring};
use crate::domain::error::{Code, Exit, Failure};
use crate::rollout::sequential::{Logs, Verdict};
use crate::run::gates_now::{self, Judged as Asked};
use crate::run::prepare;
use serde::Serialize;
use serde_json::value::RawValue;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, StdoutLock, Write};
use std::path::Path;

pub fn run(session: &Session, args: &MetricsArgs) -> Result<Exit, CliError> {
    let place = |env: &String| PlaceArgs { env: env.clone(), targets: args.targets.clone() };
    match (&args.replay, &args.env) {
        (Some(revision), Some(env)) => {
            replay::recorded(session, &place(env), revision, args.as_recorded, args.check)
        }
        (Some(file), None) => replay(session, Path::new(file), args.check),
        (None, Some(env)) => ask(session, &place(env)),
        (None, None) => unreachable!("clap asks for one of the two"),
    }
}

/// The gates, once, of what serves now.
fn ask(session: &Session, place: &PlaceArgs) -> Result<Exit, CliError> {
    let env = session.place(place)?;
    if env.gates.is_empty() {
        return Err(Failure::new(Code(722), Exit::Usage, format!("{} has no gates", place.env))
            .next("add them under `gates:`; deployctl schema shows how")
            .into());
    }
    flow::block_on(async {
        let world = wiring::real(&env).await?;
        prepare::reach(&world).await?;
        let judged = gates_now::run(&world, &env).await?;
        for one in &judged {
            let Asked { target, gate, component, verdict, detail } = one;
            if session.json() {
                let line = serde_json::json!({"type": "gate_asked", "target": target, "gate": gate,
                    "component": component, "verdict": verdict, "detail": detail});
                session.print(&format!("{line}\n"));
            } else {
                session.print(&format!("{verdict:<15}  {target:<12} {component:<12} {gate}: {detail}\n"));
            }
        }
        if judged.is_empty() {
            session.note("no release of ours serves users there: nothing to ask\n");
        }
        let foresight = gates_now::foresee(&world, &env).await?;
        session.print(&crate::cli::report::foresight::render(&foresight, &session.output));
        let bad = judged.iter().filter(|one| one.verdict == "bad").count();
        if bad > 0 {
            let what = format!("{bad} of {} gates are breached by what serves now", judged.len());
            return Err(Failure::new(Code(723), Exit::Internal, what)
                .why("nothing was changed")
                .next(format!("deployctl status {}", place.env))
                .into());
        }
        Ok(Exit::Done)
    })
}

fn replay(session: &Session, file: &Path, check: bool) -> Result<Exit, CliError> {
    let source = open(file)?;
    let mut replay = Replay::new(session, BufWriter::new(io::stdout().lock()));
    let read = replay::read(BufReader::with_capacity(1 << 16, source), &mut replay);
    let flushed = replay.out.flush();
    if matches!(read, Err(Stop::Closed)) || flushed.is_err() {
        // a closed pipe ends the output, and is no mistake of anybody
        return Ok(Exit::Done);
    }
    if let Err(Stop::Wrong(why)) = read {
        replay.wrong.push(why);
    }
    replay.tell_unknown();
    if !replay.wrong.is_empty() {
        return Err(unreadable(file, &replay.wrong).into());
    }
    replay.summarise();
    match replay.mismatch() {
        Some(first) if check => Err(differs(&first).into()),
        _ => Ok(Exit::Done),
    }
}

/// The file, or standard input for `-`.
fn open(path: &Path) -> Result<Box<dyn Read>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(path).map_err(|error| unreadable(path, &[error.to_string()]))?;
    Ok(Box::new(file))
}

fn unreadable(path: &Path, wrong: &[String]) -> Failure {
    let what = format!("{} cannot be replayed", path.display());
    let failure = Failure::new(Code(720), Exit::Usage, what).next(format!("deployctl explain {}", Code(720)));
    wrong.iter().take(20).fold(failure, |failure, why| failure.why(why.clone()))
}

fn differs(first: &str) -> Failure {
    Failure::new(Code(721), Exit::Internal, "the judge says otherwise than expected")
        .why(first)
        .next(format!("deployctl explain {}", Code(721)))
}

/// One line of output.
#[derive(Serialize)]
struct Line<'a> {
    vector: &'a str,
    block: usize,
    logs: &'a Logs,
    verdict: &'static str,
}

/// A replay under way.
struct Replay<'a> {
    session: &'a Session,
    out: BufWriter<StdoutLock<'a>>,
    settings: Settings,
    /// First difference from what was expected.
    differs: Option<String>,
    /// Vectors that could not be read, and why.
    wrong: Vec<String>,
    /// For people: one line per vector.
    summary: Vec<String>,
    blocks: usize,
}

impl<'a> Replay<'a> {
    fn new(session: &'a Session, out: BufWriter<StdoutLock<'a>>) -> Self {
        let settings = Settings::default();
        Self { session, out, settings, differs: None, wrong: Vec::new(), summary: Vec::new(), blocks: 0 }
    }

    fn judge(&mut self, vector: &Vector) -> Result<(), Stop> {
        let mut rollback = None;
        let mut last: Option<Judged> = None;
        let mut count = 0;
        let params = self.settings.params.clone();
        replay::judge(vector, &params, |judged| {
            self.print(vector, &judged)?;
            self.compare(vector, &judged);
            if judged.verdict == Verdict::Rollback {
                rollback = rollback.or(Some(judged.index));
            }
            count += 1;
            last = Some(judged);
            Ok(())
        })?;
        self.blocks += count;
        self.compare_whole(vector, count, rollback, last.as_ref());
        if self.session.output.terminal {
            self.summary.push(told(vector, rollback, last.as_ref()));
        }
        Ok(())
    }

    fn print(&mut self, vector: &Vector, judged: &Judged) -> Result<(), Stop> {
        let line = Line {
            vector: &vector.name,
            block: judged.index,
            logs: &judged.logs,
            verdict: judged.verdict.label(),
        };
        let written = serde_json::to_writer(&mut self.out, &line).map_err(io::Error::from);
        written.and_then(|()| self.out.write_all(b"\n")).map_err(|_| Stop::Closed)
    }

    fn compare(&mut self, vector: &Vector, judged: &Judged) {
        let Some(expected) = vector.expected.get(judged.index) else { return };
        if self.differs.is_none() {
            let off = expected.mismatch(judged, self.settings.tolerance);
            self.differs = off.map(|off| format!("vector {:?}, block {}: {off}", vector.name, judged.index));
        }
    }

    /// What concerns a vector as a whole: how many blocks, its end, where it rolls back.
    fn compare_whole(
        &mut self,
        vector: &Vector,
        count: usize,
        rollback: Option<usize>,
        last: Option<&Judged>,
    ) {
        let verdict = last.map(|judged| judged.verdict.label());
        let expected = vector.expected.len();
        let off = if expected > count {
            Some(format!("{count} blocks, expected {expected}"))
        } else if vector.tells_rollback && vector.rollback != rollback {
            let block = |block: Option<usize>| block.map_or("none".to_owned(), |block| block.to_string());
            Some(format!("rolls back at block {}, expected {}", block(rollback), block(vector.rollback)))
        } else {
            let expected = vector.last.as_deref().filter(|expected| Some(*expected) != verdict);
            expected
                .map(|expected| format!("ends with {}, expected {expected}", verdict.unwrap_or("no block")))
        };
        let off = off.map(|off| format!("vector {:?}: {off}", vector.name));
        self.differs = self.differs.take().or(off);
    }

    fn mismatch(&self) -> Option<String> {
        self.differs.clone().or_else(|| self.settings.burst_mismatch.clone())
    }

    fn tell_unknown(&self) {
        for name in &self.settings.unknown {
            self.session.note(&format!("warning: {name} is not known and not used\n"));
        }
    }

    /// For people at a terminal: what each vector came to.
    fn summarise(&self) {
        if !self.session.output.terminal {
            return;
        }
        let (vectors, blocks) = (self.summary.len(), self.blocks);
        let first = self.mismatch().map_or_else(
            || "as expected wherever something was expected".to_owned(),
            |first| format!("first difference: {first}"),
        );
        let lines = self.summary.join("\n");
        self.session.note(&format!("\n{lines}\n\n{vectors} vectors, {blocks} blocks; {first}\n"));
    }
}

impl Visit for Replay<'_> {
    fn setting(&mut self, name: &str, value: &RawValue) -> Result<(), Stop> {
        self.settings.take(name, value).map_err(Stop::Wrong)
    }

    fn vector(&mut self, index: usize, value: &RawValue) -> Result<(), Stop> {
        match Vector::of(index, value) {
            Ok(vector) => self.judge(&vector),
            Err(why) => {
                // the others can be judged all the same
                self.wrong.push(why);
                Ok(())
            }
        }
    }
}

fn told(vector: &Vector, rollback: Option<usize>, last: Option<&Judged>) -> String {
    let Some(last) = last else { return format!("{}: no block", vector.name) };
    let at = rollback.map_or_else(String::new, |block| format!(" at block {block}"));
    format!("{}: {}{at}: {}", vector.name, last.verdict.label(), last.explanation.text)
}
