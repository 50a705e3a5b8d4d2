//! `deployctl rehearse ENV`: the whole deployment by the same code, against a simulated world, in virtual time.

use crate::cli::CliError;
use crate::cli::args::RehearseArgs;
use crate::cli::campaign::{self, Audience, Campaign, Played, Schedule, Theatre};
use crate::cli::flow;
use crate::cli::report::svg::Recorder;
use crate::cli::report::{Facts, Reporter};
use crate::cli::session::Session;
use crate::cli::unsimulated;
use crate::cli::wiring;
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::event::Event;
use crate::domain::units;
use crate::plan::Plan;
use crate::run::Report;
use std::cell::{OnceCell, RefCell};
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Duration;

pub fn run(session: &Session, args: &RehearseArgs) -> Result<Exit, CliError> {
    if args.list_faults {
        list_faults(session);
        return Ok(Exit::Done);
    }
    let env = args.env.as_deref().unwrap_or_default();
    let mut wanted = session.wanted(env, &args.targets, &args.release)?;
    unsimulated::spare(session, &mut wanted.env);
    let longest_hold = longest_hold(args)?;
    if let Some(stories) = args.campaign {
        let longest_hold = longest_hold.unwrap_or_else(|| campaign::decisive(&wanted.env));
        let theatre = Theatre::new(wanted, args.from_nothing, Some(longest_hold))?;
        let given = campaign::given(args);
        let campaign_of = Campaign { stories, seed: args.seed, threads: 0, given: &given };
        return campaign(session, env, &theatre, campaign_of);
    }
    let mut schedule = Schedule::of(args)?;
    let theatre = Theatre::new(wanted, args.from_nothing, longest_hold)?;
    schedule.longest_hold = theatre.longest_hold();
    let house = House { session, args, recorder: OnceCell::new(), refused: RefCell::new(None) };
    let played =
        campaign::virtual_time(async { Ok(Box::pin(theatre.story(&schedule, &house, None, |_| {})).await) })?;
    house.end(env, &schedule, &played)
}

fn longest_hold(args: &RehearseArgs) -> Result<Option<Duration>, Failure> {
    let read = args.longest_hold.as_deref().map(units::parse_duration).transpose();
    read.map_err(|why| {
        Failure::new(Code(706), Exit::Usage, "--longest-hold cannot be read")
            .why(why)
            .next("write a time, e.g. --longest-hold 2m")
    })
}

fn list_faults(session: &Session) {
    for (form, what) in wiring::known_faults() {
        if session.json() {
            session.print(&format!("{}\n", serde_json::json!({"type": "fault", "form": form, "what": what})));
        } else {
            session.print(&format!("{form:<44} {what}\n"));
        }
    }
}

/// Plays many stories, and says what came of them.
fn campaign(
    session: &Session,
    env: &str,
    theatre: &Theatre,
    campaign: Campaign<'_>,
) -> Result<Exit, CliError> {
    let progress = Progress { shown: !session.json() && std::io::stderr().is_terminal() };
    let figures =
        campaign::run_before(theatre, campaign, &|done, wrong| progress.tell(done, campaign.stories, wrong));
    progress.end();
    let figures = figures?;
    if session.json() {
        for line in figures.json(env, campaign.seed) {
            session.print(&format!("{line}\n"));
        }
    } else {
        session.print(&figures.text(env, campaign.seed));
    }
    match figures.broken.first() {
        None => Ok(Exit::Done),
        Some(first) => Err(campaign::broken(env, &first.schedule, &first.violation).into()),
    }
}

/// A line on a terminal that says how far a campaign is.
struct Progress {
    shown: bool,
}

impl Progress {
    fn tell(&self, done: u64, of: u64, wrong: u64) {
        // ten thousand lines of progress would be no help
        if self.shown && (done == of || done.is_multiple_of((of / 200).max(1))) {
            Self::write(&format!("\r{done} of {of} stories, {wrong} broke a rule "));
        }
    }

    fn end(&self) {
        if self.shown {
            Self::write("\r\x1b[K");
        }
    }

    fn write(text: &str) {
        let mut stderr = std::io::stderr().lock();
        let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
    }
}

/// Shows one story to whoever asked for it.
struct House<'a> {
    session: &'a Session,
    args: &'a RehearseArgs,
    recorder: OnceCell<Recorder>,
    refused: RefCell<Option<CliError>>,
}

impl Audience for House<'_> {
    fn session(&self) -> &Session {
        self.session
    }

    fn typed(&self, command: &str) {
        self.refused.take();
        let env = self.args.env.as_deref().unwrap_or_default();
        self.session.say(&format!("$ deployctl {command} {env}"));
    }

    fn approves(&self, plan: &Plan) -> Result<bool, CliError> {
        flow::approve(self.session, plan, &self.args.consent)
    }

    fn report<'a>(&'a self, plan: &Plan) -> Box<dyn Report + 'a> {
        let recorder = self.args.record.as_ref().map(|_| {
            self.recorder.get_or_init(|| {
                let title = format!("deployctl rehearse {} --auto-approve", plan.environment);
                let recorder = Recorder::new(&title, Facts::of(plan, true));
                recorder.show(plan.created, &format!("$ {title}\n"));
                recorder
            })
        });
        Box::new(Shown { reporter: flow::reporter(self.session, plan, true), recorder })
    }

    fn refused(&self, error: CliError) {
        *self.refused.borrow_mut() = Some(error);
    }
}

impl House<'_> {
    /// What users noticed, what was broken, and how the last command ended.
    fn end(&self, env: &str, schedule: &Schedule, played: &Played) -> Result<Exit, CliError> {
        let last = played.lives.last();
        if !played.labels.is_empty() {
            self.told(played);
        }
        if let (Some(path), Some(recorder)) = (&self.args.record, self.recorder.get()) {
            write_picture(self.session, path, &recorder.finish())?;
        }
        for violation in &played.violations {
            self.session.note(&format!("a rule was broken: {}: {}\n", violation.invariant, violation.what));
        }
        if let Some(first) = played.violations.first() {
            return Err(campaign::broken(env, schedule, first).into());
        }
        if let Some(error) = self.refused.take() {
            return Err(error);
        }
        Ok(last.and_then(|life| life.exit).unwrap_or(Exit::Unknown))
    }

    fn told(&self, played: &Played) {
        let failed = played.judgement.failed;
        let (requests, failed) =
            (played.judgement.requests, failed.release + failed.world + failed.orchestration);
        if self.session.json() {
            let line =
                serde_json::json!({"type": "simulated_traffic", "requests": requests, "failed": failed});
            self.session.print(&format!("{line}\n"));
        } else if requests > 0 {
            self.session
                .print(&format!("users sent {requests} requests meanwhile; {failed} of them failed\n"));
        }
    }
}

fn write_picture(session: &Session, path: &Path, picture: &str) -> Result<(), CliError> {
    std::fs::write(path, picture).map_err(|error| {
        Failure::new(Code(311), Exit::Usage, format!("{} cannot be written", path.display()))
            .why(error.to_string())
    })?;
    session.note(&format!("recorded: {}\n", path.display()));
    Ok(())
}

/// Passes events on to those who show them.
struct Shown<'a> {
    reporter: Reporter,
    recorder: Option<&'a Recorder>,
}

impl Report for Shown<'_> {
    fn event(&self, event: &Event) {
        self.reporter.event(event);
        if let Some(recorder) = self.recorder {
            recorder.event(event);
        }
    }
}
