//! The engine on two targets in two waves, from every state on disk that can be reached.

use super::disk::{Closed, Disk, Door, Mishap, Spoiler, Stage as Surroundings, Trace, Watchman};
use crate::support::{Told, environment};
use deployctl::domain::effect::Effect;
use deployctl::domain::ids::{ComponentId, Revision, RunId, StepId, TargetId};
use deployctl::domain::step::{Lane, Stage, Status, Step, Undo};
use deployctl::plan::Plan;
use deployctl::ports::Clock as _;
use deployctl::ports::state::{Holder, Record, RecordKind};
use deployctl::run::journal::{Entry, Journal, Phase, Replayed, What, replay};
use deployctl::run::lease::{Leases, Patience};
use deployctl::run::{Ending, Engine, Site, World};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

/// Processes of one run, one after the other, each with its mishap.
const PROCESSES: usize = 2;
/// Longer than any process can take that ends.
const ENDLESS: Duration = Duration::from_hours(200);

fn effect(id: &str, to: &str) -> Effect {
    Effect::Compose {
        project: id.into(),
        images: vec![("x".into(), to.into())],
        timeout: Duration::from_secs(1),
    }
}

/// One switch: on the way forward it is turned to the new release, on the way back to the old one.
fn step(id: &str, target: &str, lane: Lane) -> Step {
    Step {
        id: StepId::new(id),
        target: target.into(),
        component: Some(ComponentId::new("api")),
        level: 0,
        title: id.into(),
        effect: effect(id, "new"),
        undo: Undo::Effects { lane, effects: vec![effect(id, "old")] },
    }
}

/// What both share first, then the west (wave 1), then the east (wave 2): configuration, pods, traffic.
fn plan() -> Plan {
    let env = environment("canary");
    let mut plan = Plan::for_asking(&env, RunId::new("r1"), Timestamp::UNIX_EPOCH);
    plan.revision = Revision(1);
    let stage = |id: &str, wave: usize, steps: Vec<Step>| Stage {
        id: id.into(),
        title: id.into(),
        wave,
        weight: 0,
        steps,
    };
    plan.stages = vec![
        stage("w0", 0, vec![step("w0/east", "east", Lane::Config), step("w0/west", "west", Lane::Config)]),
        stage("w1-pods", 1, vec![step("w1-pods", "west", Lane::Capacity)]),
        stage("w1-traffic", 1, vec![step("w1-traffic", "west", Lane::Traffic)]),
        stage("w2-traffic", 2, vec![step("w2-traffic", "east", Lane::Traffic)]),
    ];
    plan
}

/// An older release is brought back, on both at once: configuration, pods, traffic, and what is cleaned up behind that.
fn way_back() -> Plan {
    let mut plan = plan();
    plan.rollback_of = Some(Revision(0));
    let both = |id: &str, lane: Lane| Stage {
        id: id.into(),
        title: id.into(),
        wave: 1,
        weight: 0,
        steps: ["east", "west"].map(|target| step(&format!("{id}/{target}"), target, lane)).to_vec(),
    };
    plan.waves = vec![vec!["east".into(), "west".into()]];
    plan.stages = vec![
        both(WAY_BACK, Lane::Config),
        both("pods", Lane::Capacity),
        both("traffic", Lane::Traffic),
        both("finish", Lane::Config),
    ];
    plan
}

/// By its first stage a plan is judged as a way back, whatever it says itself.
const WAY_BACK: &str = "back";

fn is_way_back(plan: &Plan) -> bool {
    plan.stages[0].id == WAY_BACK
}

fn steps(plan: &Plan) -> impl Iterator<Item = (usize, &Step)> {
    plan.stages.iter().flat_map(|stage| stage.steps.iter().map(move |step| (stage.wave, step)))
}

fn lane(step: &Step) -> Lane {
    match step.undo {
        Undo::Effects { lane, .. } => lane,
        Undo::None { .. } => unreachable!("every step here is taken back"),
    }
}

/// What the journals on disk tell.
fn told(plan: &Plan, disk: &Disk) -> Result<Replayed, String> {
    let journals: BTreeMap<TargetId, Vec<Record>> = plan
        .targets
        .keys()
        .map(|target| {
            let own =
                disk.records.iter().filter(|((t, kind, _), _)| t == target && *kind == RecordKind::Journal);
            let records = own.map(|((.., name), content)| Record {
                name: name.clone(),
                content: content.clone(),
                damage: None,
            });
            (target.clone(), records.collect())
        })
        .collect();
    replay(&plan.run, &journals).map_err(|failure| format!("{}: {}", failure.what, failure.why.join("; ")))
}

fn entries(disk: &Disk) -> impl Iterator<Item = Entry> {
    let journal = disk.records.iter().filter(|((_, kind, _), _)| *kind == RecordKind::Journal);
    journal.filter_map(|(_, content)| serde_json::from_slice(content).ok())
}

/// Whether anybody has an abort on record that a later process must obey.
fn aborts(disk: &Disk) -> bool {
    let phase = entries(disk).any(|entry| matches!(entry.what, What::Phase(Phase::Aborting { .. })));
    let wishes = disk.records.iter().filter(|((_, kind, _), _)| *kind == RecordKind::Intent);
    let wish = |content: &Vec<u8>| {
        serde_json::from_slice::<Value>(content).is_ok_and(|i| !i["wish"]["abort"].is_null())
    };
    phase || wishes.map(|(_, content)| content).any(wish)
}

/// What must hold whenever a switch is turned.
fn watchman(plan: &Plan, aborted: bool, command: Command, mishap: Option<Mishap>) -> Arc<Watchman> {
    let plan = plan.clone();
    let asked = aborted || command == Command::Rollback || mishap == Some(Mishap::Abort);
    Arc::new(move |disk, id, forward| {
        let state = told(&plan, disk)?;
        let (wave, own) = steps(&plan).find(|(_, step)| step.id == *id).expect("a step of the plan");
        let status = state.status.get(id).copied().unwrap_or_default();
        let is_new = |step: &Step| disk.new.get(&step.id).copied().unwrap_or(false);
        if forward {
            if status != Status::Started {
                return Err(format!("{id} is done, and on record it is {status:?}"));
            }
            if aborted {
                return Err(format!("{id} goes forward after an abort"));
            }
            if let Some((_, early)) = steps(&plan).find(|(other, step)| *other < wave && !is_new(step)) {
                return Err(format!("{id} begins before {} of an earlier wave stands", early.id));
            }
        } else {
            if status == Status::Pending {
                return Err(format!("{id} is taken back, and was never begun"));
            }
            // A chain that is stuck is left as it is, and holds up no other.
            let stuck = matches!(mishap, Some(Mishap::Away | Mishap::Gone | Mishap::Breaks));
            let alone = is_way_back(&plan);
            let before =
                |step: &Step| lane(step) < lane(own) && is_new(step) && (!alone || step.target == own.target);
            let carries = |step: &Step| {
                step.target == own.target
                    && lane(step) == Lane::Traffic
                    && state.status.get(&step.id) == Some(&Status::Done)
            };
            if alone && !asked && steps(&plan).any(|(_, step)| carries(step)) {
                return Err(format!("{id} is taken back though the older release carries everything there"));
            }
            if let Some((_, step)) = steps(&plan).find(|(_, step)| before(step)).filter(|_| !stuck) {
                return Err(format!("{id} is taken back before {}, which is of an earlier lane", step.id));
            }
        }
        Ok(())
    })
}

/// What a person types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Deploy,
    Resume,
    Rollback,
}

/// All doors to what is around a process.
fn world(plan: &Plan, around: &Arc<Surroundings>) -> World {
    let site = |target: &TargetId| {
        let door = Arc::new(Door { stage: Arc::clone(around), target: target.clone() });
        let site = Site {
            cluster: None,
            state: door.clone(),
            lock: door.clone(),
            guard: door.clone(),
            cloud: None,
            compose: Some(door),
        };
        (target.clone(), site)
    };
    World {
        sites: plan.targets.keys().map(site).collect(),
        metrics: Arc::new(Closed),
        probe: Arc::new(Closed),
        secrets: Arc::new(Closed),
        clock: around.clone(),
    }
}

/// One process from begin to end.
struct Life {
    disk: Disk,
    trace: Trace,
    /// `None`: it died.
    ending: Option<Ending>,
}

fn live(
    plan: &Plan,
    disk: &Disk,
    command: Command,
    mishap: Option<(usize, Mishap)>,
    keeps: &Arc<Spoiler>,
) -> Result<Life, String> {
    let replayed = told(plan, disk)?;
    let epoch = replayed.epoch + 1;
    let back = replayed
        .phase
        .cause()
        .map(str::to_owned)
        .or((command == Command::Rollback).then(|| "asked".to_owned()));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let process = async {
        let watchman = watchman(plan, aborts(disk), command, mishap.map(|(_, mishap)| mishap));
        let around =
            Arc::new(Surroundings::new(disk.clone(), &plan.run, mishap, watchman, Arc::clone(keeps)));
        let world = world(plan, &around);
        let now = around.now();
        let holder = Holder {
            id: format!("{}/{epoch}", plan.run),
            by: plan.by.clone(),
            reason: "model".into(),
            since: now,
            renewed: now,
            ttl: plan.limits.lease,
        };
        let targets: Vec<TargetId> = plan.targets.keys().cloned().collect();
        let leases =
            Leases::acquire(&world, &targets, holder, Patience::None, &|_, _| {}, pending()).await.unwrap();
        let stores = world.sites.iter().map(|(target, site)| (target.clone(), site.state.clone()));
        let journal = Journal::new(plan.run.clone(), epoch, stores, world.clock.clone());
        let report = Told::default();
        let engine =
            Engine::new(plan, &world, &leases, journal, replayed, &report, around.interrupts.subscribe());
        let mut dead = around.dead.subscribe();
        let work = async {
            match back {
                Some(cause) => engine.abort(cause).await,
                None => engine.run(command != Command::Deploy).await,
            }
        };
        let ending = tokio::select! {
            biased;
            ending = work => Ok(Some(ending)),
            _ = dead.wait_for(|dead| *dead) => Ok(None),
            () = tokio::time::sleep(ENDLESS) => Err("it does not end".to_owned()),
        };
        drop(world);
        let disk = around.disk.lock().unwrap().clone();
        let trace = std::mem::take(&mut *around.trace.lock().unwrap());
        ending.map(|ending| Life { disk, trace, ending })
    };
    let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(process)));
    lived.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic".to_owned());
        Err(format!("it panics: {text}"))
    })
}

/// What must hold when a process is over.
fn afterwards(plan: &Plan, life: &Life) -> Result<(), String> {
    if let Some(wrong) = life.trace.wrong.first() {
        return Err(wrong.clone());
    }
    let state = told(plan, &life.disk)?;
    let is_new = |step: &Step| life.disk.new.get(&step.id).copied().unwrap_or(false);
    let ended = matches!(state.phase, Phase::Ended { .. });
    let all = |wanted: &dyn Fn(&Step) -> bool, what: &str| match steps(plan).find(|(_, step)| !wanted(step)) {
        Some((_, step)) => Err(format!("{what}, but {} is not", step.id)),
        None => Ok(()),
    };
    // What failed behind the traffic of an older release, and was told, may be left for good.
    let is_left = |step: &Step| {
        let failed = state.status.get(&step.id) == Some(&Status::Failed);
        is_way_back(plan) && lane(step) == Lane::Config && failed
    };
    match &life.ending {
        Some(Ending::Deployed) => {
            all(&|step| is_new(step) || is_left(step), "it says that all is on the new release")?;
            if !ended {
                return Err("it says that it is deployed, and its journal does not".to_owned());
            }
        }
        Some(Ending::RolledBack { .. }) if is_way_back(plan) => whole(plan, &is_new)?,
        Some(Ending::RolledBack { .. }) => all(&|step| !is_new(step), "it says that all is as it was")?,
        Some(Ending::Interrupted) if is_way_back(plan) => {
            if life.trace.turned.iter().any(|(_, forward)| !forward) {
                return Err("it was interrupted on the way back, and turned round".to_owned());
            }
        }
        Some(Ending::Interrupted) => {
            all(&|step| lane(step) != Lane::Traffic || !is_new(step), "it says that traffic is on stable")?;
        }
        Some(Ending::Broken { .. } | Ending::Unknown { .. }) | None => {}
    }
    let turned_back = life.trace.turned.iter().any(|(_, forward)| !forward);
    if turned_back && state.phase == Phase::Forward {
        return Err("it turned back, and on record it goes forward".to_owned());
    }
    if let Phase::Ended { outcome, owed } = &state.phase {
        let deployed = outcome == "deployed";
        if is_way_back(plan) && !deployed {
            return whole(plan, &is_new);
        }
        let is_so = |step: &Step| is_new(step) == deployed || is_left(step) || owed.contains(&step.target);
        all(&is_so, &format!("on record it is {outcome}"))?;
    }
    Ok(())
}

/// Each target is on the one release or on the other.
fn whole(plan: &Plan, is_new: &dyn Fn(&Step) -> bool) -> Result<(), String> {
    for target in plan.targets.keys() {
        let own: BTreeSet<bool> =
            steps(plan).filter(|(_, step)| step.target == *target).map(|(_, step)| is_new(step)).collect();
        if own.len() > 1 {
            return Err(format!("it is over, and {target} is between two releases"));
        }
    }
    Ok(())
}

/// States that a later process cannot tell apart are one.
fn key(plan: &Plan, disk: &Disk) -> String {
    let state = told(plan, disk).expect("it was read before");
    let mut key =
        format!("{:?}", disk.new.iter().filter(|(_, new)| **new).map(|(step, _)| step).collect::<Vec<_>>());
    for (step, status) in &state.status {
        let _ = write!(key, " {step}={status:?}");
    }
    let phase = match &state.phase {
        Phase::Aborting { kept, .. } => format!("back, but {kept:?}"),
        phase => format!("{phase:?}"),
    };
    let mut asked: Vec<&str> = state.asked.iter().map(|intent| intent.wish.verb()).collect();
    asked.sort_unstable();
    asked.dedup();
    let releases = disk.records.keys().filter(|(_, kind, _)| *kind == RecordKind::Release).count();
    let wishes = disk.records.keys().filter(|(_, kind, _)| *kind == RecordKind::Intent).count().min(1);
    let _ = write!(key, " {phase} {asked:?} {releases} {wishes} {}", aborts(disk));
    key
}

/// What was walked.
#[derive(Debug, Default)]
struct Walked {
    states: usize,
    processes: usize,
}

/// Walks all processes from all states, up to a depth; the first thing that may not be, and how it came to that.
fn walk(plan: &Plan, keeps: &Arc<Spoiler>, depth: usize) -> Result<Walked, String> {
    let mut walked = Walked::default();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut queue = VecDeque::from([(Disk::default(), Vec::<String>::new())]);
    while let Some((disk, path)) = queue.pop_front() {
        walked.states += 1;
        let commands: &[Command] =
            if disk.records.is_empty() { &[Command::Deploy] } else { &[Command::Resume, Command::Rollback] };
        for command in commands {
            let mut attempt = |mishap: Option<(usize, Mishap)>, point: &str| -> Result<Life, String> {
                let how = match mishap {
                    Some((at, mishap)) => format!("{command:?} with {mishap:?} at {at}: {point}"),
                    None => format!("{command:?}"),
                };
                let way = [path.clone(), vec![how]].concat();
                let wrong = |what: String| format!("{what}\n  after {}", way.join("\n  then  "));
                walked.processes += 1;
                let life = live(plan, &disk, *command, mishap, keeps).map_err(wrong)?;
                afterwards(plan, &life).map_err(wrong)?;
                let phase = told(plan, &life.disk).map_err(wrong)?.phase;
                let over = matches!(phase, Phase::Ended { owed, .. } if owed.is_empty());
                if !over && mishap.is_none() {
                    return Err(wrong(format!(
                        "nothing goes wrong, and it does not come to its end: {:?}",
                        life.ending
                    )));
                }
                let begun = life.disk.records.keys().any(|(_, kind, _)| *kind == RecordKind::Journal);
                if !over && begun && seen.insert(key(plan, &life.disk)) {
                    queue.push_back((life.disk.clone(), way));
                }
                Ok(life)
            };
            // Whatever the state: without further mishaps each command comes to an end, and that end is the truth.
            let calm = attempt(None, "")?;
            if path.len() >= depth {
                continue;
            }
            for (at, (effect, point)) in calm.trace.points.iter().enumerate() {
                let mishaps: &[Mishap] = if *effect { &Mishap::OF_EFFECTS } else { &Mishap::OF_RECORDS };
                for mishap in mishaps {
                    attempt(Some((at, *mishap)), point)?;
                }
            }
        }
    }
    Ok(walked)
}

fn faithful() -> Arc<Spoiler> {
    Arc::new(|_, _| true)
}

#[test]
fn every_run_ends_whatever_goes_wrong_and_every_command_leads_out_of_every_state() {
    let more = std::env::var("MODEL_PROCESSES").ok().and_then(|number| number.parse().ok());
    let walked =
        walk(&plan(), &faithful(), more.unwrap_or(PROCESSES)).unwrap_or_else(|wrong| panic!("{wrong}"));
    println!("{walked:?}");
    assert!(walked.states > 40 && walked.processes > 2000, "{walked:?}");
}

#[test]
fn an_older_release_that_is_brought_back_comes_to_its_end_and_never_turns_round() {
    let walked = walk(&way_back(), &faithful(), PROCESSES).unwrap_or_else(|wrong| panic!("{wrong}"));
    println!("{walked:?}");
    assert!(walked.states > 40 && walked.processes > 2000, "{walked:?}");
}

/// Drops records that say one of these.
fn forgetting(what: &'static [&'static str]) -> Arc<Spoiler> {
    Arc::new(move |kind, content| {
        let text = String::from_utf8_lossy(content);
        kind != RecordKind::Journal || !what.iter().any(|what| text.contains(what))
    })
}

#[test]
fn wrong_engines_are_found() {
    let mut idle = plan();
    for stage in &mut idle.stages {
        for step in &mut stage.steps {
            if let Undo::Effects { effects, .. } = &mut step.undo
                && step.id.as_str() == "w1-pods"
            {
                effects.clear();
            }
        }
    }
    let mut unordered = plan();
    unordered.stages.swap(2, 3);
    let mut turning = way_back();
    turning.rollback_of = None;
    for (what, plan, keeps) in [
        ("its way back turns round", turning, faithful()),
        ("it begins its way back before it journals", way_back(), forgetting(&["\"start\""])),
        ("it keeps no record of what it owes", way_back(), forgetting(&["\"ended\""])),
        ("it acts before it journals", plan(), forgetting(&["\"start\""])),
        ("it keeps no record of a way back", plan(), forgetting(&["\"aborting\"", "undo\""])),
        ("it keeps no record of its end", plan(), forgetting(&["\"ended\""])),
        ("it takes a step back without doing so", idle, faithful()),
        ("its waves overlap", unordered, faithful()),
    ] {
        assert!(walk(&plan, &keeps, 1).is_err(), "nobody notices that {what}");
    }
}
