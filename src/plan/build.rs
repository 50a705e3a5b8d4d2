//! Puts a plan together: every target's stages, wave by wave, then what is cleaned up at the end.

use super::inventory::Fate;
use super::naming::{Named, digest};
use super::site::Site;
use super::table::Table;
use super::{Contest, FieldChange, Plan, RunLimits, TargetPlan, calendar, diff, inventory, naming, secrets};
use crate::domain::definitions::Definitions;
use crate::domain::effect::Effect;
use crate::domain::environment::{Environment, TrafficClass};
use crate::domain::gitops::Syncers;
use crate::domain::ids::{ComponentId, Revision, RunId, StepId, TargetId};
use crate::domain::object::{Object, ObjectRef};
use crate::domain::release::{Actor, FORMAT, Outcome, Release};
use crate::domain::step::{Stage, Step, Undo};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Everything that a plan is made from.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The environment.
    pub env: &'a Environment,
    /// Version to deploy.
    pub version: String,
    /// Number of the release that is made.
    pub revision: Revision,
    /// The components that were asked for; all if empty.
    pub components: Vec<ComponentId>,
    /// Objects that no release needs and that are deleted though their kind is kept: `Kind/name`.
    pub prune: Vec<String>,
    /// Set when an older release is brought back: no holds, all targets in one wave.
    pub rollback_of: Option<Revision>,
    /// Name of the run.
    pub run: RunId,
    /// Who asks.
    pub by: Actor,
    /// Why.
    pub reason: Option<String>,
    /// Now.
    pub created: Timestamp,
    /// What was rendered and observed, by target.
    pub targets: BTreeMap<TargetId, TargetInput>,
}

/// What was rendered for a target and observed in it.
#[derive(Debug)]
pub struct TargetInput {
    /// `uid` of the cluster's `kube-system`.
    pub cluster_uid: String,
    /// The release's objects under their final names.
    pub named: Named,
    /// The live objects among those that matter.
    pub live: BTreeMap<ObjectRef, Value>,
    /// What the kinds of the wanted objects look like here.
    pub definitions: Definitions,
    /// Releases on record here, oldest first.
    pub history: Vec<Release>,
    /// Who writes these objects from Git.
    pub syncers: Syncers,
    /// What the server said in a dry run of those that seem changed.
    pub judged: BTreeMap<ObjectRef, Judged>,
}

/// What a server says of an object that seems changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// Applying it would change nothing after all.
    pub same: bool,
    /// Fields that others own.
    pub contests: Vec<Contest>,
    /// It cannot be changed into what is wanted, in the server's words.
    pub immutable: Option<String>,
    /// What the server warned of, if it accepts the object.
    pub tried: Option<Vec<String>>,
}

impl TargetInput {
    /// Places of the wanted objects that are live and differ, as far as can be told without the server.
    #[must_use]
    pub fn differing(&self) -> Vec<usize> {
        let previous = self.previous_manifests();
        let differs = |object: &Object| {
            let reference = object.reference();
            let live = self.live.get(&reference);
            live.is_some_and(|live| {
                !self.differences(object, live, previous.get(&reference).copied()).is_empty()
            })
        };
        let objects = self.named.objects.iter().enumerate();
        objects.filter(|(_, object)| differs(object)).map(|(place, _)| place).collect()
    }

    /// What an object would change in the live one. Of a Secret the values are left out, and one that is named by its
    /// content never changes.
    pub(super) fn differences(
        &self,
        object: &Object,
        live: &Value,
        previous: Option<&Value>,
    ) -> Vec<FieldChange> {
        match object.kind() {
            "Secret" if !naming::keeps_name(object) => Vec::new(),
            "Secret" => secrets::changed_keys(&object.value, live, previous),
            _ => diff::fields(&self.definitions, &object.value, live, previous),
        }
    }

    /// The manifests of the release that serves now.
    #[must_use]
    pub fn previous_manifests(&self) -> HashMap<ObjectRef, &Value> {
        let objects = self.previous().into_iter().flat_map(|release| &release.objects);
        objects.map(|object| (object.reference(), &object.value)).collect()
    }

    /// The release that serves now.
    #[must_use]
    pub fn previous(&self) -> Option<&Release> {
        self.history.iter().rev().find(|release| release.outcome == Outcome::Deployed)
    }
}

/// Part of a stage, one target's steps.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub name: String,
    pub title: String,
    pub weight: u8,
    pub steps: Vec<Step>,
}

/// Makes the plan.
#[must_use]
pub fn build(inputs: &Inputs<'_>) -> Plan {
    let env = inputs.env;
    let waves = waves(inputs);
    let mut table = Table::default();
    let mut stages = preparation(inputs, &waves);
    let mut targets = BTreeMap::new();
    let (mut warnings, mut not_undone, mut finish) = (Vec::new(), Vec::new(), Vec::new());
    for (index, wave) in waves.iter().enumerate() {
        let number = index + 1;
        let last = number == waves.len();
        let mut merged: BTreeMap<u32, Draft> = BTreeMap::new();
        if index > 0 {
            merged.insert(0, advance(wave, number));
        }
        for id in wave {
            let target = env.target(id).expect("waves name known targets: the configuration is checked");
            let input = &inputs.targets[id];
            let site = Site::new(inputs, target, input, number, &mut table);
            let planned = site.plan(last);
            for (order, draft) in planned.drafts {
                let stage =
                    merged.entry(order).or_insert_with(|| Draft { steps: Vec::new(), ..draft_head(&draft) });
                stage.weight = stage.weight.max(draft.weight);
                stage.steps.extend(draft.steps);
            }
            finish.extend(planned.finish);
            add_new(&mut warnings, planned.warnings);
            not_undone.extend(planned.not_undone);
            targets.insert(id.clone(), planned.target);
        }
        stages.extend(
            merged.into_values().filter(|draft| !draft.steps.is_empty()).map(|draft| stage(draft, number)),
        );
    }
    if !finish.is_empty() {
        let title = "clean up what no release needs".to_owned();
        stages.push(stage(Draft { name: "finish".into(), title, weight: 100, steps: finish }, waves.len()));
    }
    mint_ids(&mut stages);
    let overridden = calendar::overridden(inputs);
    warnings.extend(calendar::warnings(inputs, expected(&stages), overridden.as_ref()));
    warnings.dedup();
    Plan {
        format: FORMAT,
        application: env.application.clone(),
        environment: env.name.clone(),
        namespace: env.namespace.clone(),
        state_namespace: env.state_namespace.clone(),
        run: inputs.run.clone(),
        revision: inputs.revision,
        version: inputs.version.clone(),
        rollback_of: inputs.rollback_of,
        created: inputs.created,
        by: inputs.by.clone(),
        reason: inputs.reason.clone(),
        overridden,
        profile: env.profile.clone().filter(|_| inputs.rollback_of.is_none()),
        components: inputs.components.clone(),
        take: env.take.clone(),
        targets,
        expected: expected(&stages),
        waves,
        objects: table.into_objects(),
        stages,
        warnings,
        not_undone,
        limits: RunLimits::of(env),
        readiness: env.readiness.clone(),
        owed: BTreeMap::new(),
        pays: None,
    }
}

/// What is the same on every target is said once.
fn add_new(lines: &mut Vec<String>, more: Vec<String>) {
    for line in more {
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
}

fn draft_head(draft: &Draft) -> Draft {
    Draft { name: draft.name.clone(), title: draft.title.clone(), weight: draft.weight, steps: Vec::new() }
}

/// The environment's waves, less targets that this run leaves out; one wave for a rollback, since every target is hurt.
fn waves(inputs: &Inputs<'_>) -> Vec<Vec<TargetId>> {
    let chosen = |wave: &Vec<TargetId>| -> Vec<TargetId> {
        wave.iter().filter(|id| inputs.targets.contains_key(id)).cloned().collect()
    };
    let waves: Vec<Vec<TargetId>> =
        inputs.env.waves.iter().map(chosen).filter(|wave| !wave.is_empty()).collect();
    if inputs.rollback_of.is_some() { vec![waves.concat()] } else { waves }
}

/// Backups and infrastructure, before the first wave.
fn preparation(inputs: &Inputs<'_>, waves: &[Vec<TargetId>]) -> Vec<Stage> {
    let env = inputs.env;
    let mut stages = Vec::new();
    if inputs.rollback_of.is_some() {
        return stages;
    }
    let step = |target: &TargetId, title: String, effect: Effect, why: &str| Step {
        id: StepId::new(""),
        target: target.clone(),
        component: None,
        level: 0,
        title,
        effect,
        undo: Undo::None { why: why.to_owned() },
    };
    let snapshots: Vec<Step> = env
        .backup
        .rds
        .iter()
        .filter(|backup| inputs.targets.contains_key(&backup.target))
        .map(|backup| {
            let snapshot =
                format!("{}-{}-{}-{}", env.application, env.name, backup.instance, inputs.revision);
            let effect = Effect::Snapshot {
                instance: backup.instance.clone(),
                snapshot: snapshot.clone(),
                timeout: env.limits.backup,
            };
            step(&backup.target, format!("RDS snapshot {snapshot}"), effect, "a backup is kept")
        })
        .collect();
    if !snapshots.is_empty() {
        let draft = Draft { name: "backup".into(), title: "back up".into(), weight: 0, steps: snapshots };
        stages.push(stage(draft, 0));
    }
    if let (Some(dir), Some(target)) = (&env.terraform, waves.first().and_then(|wave| wave.first())) {
        let dir = dir.display().to_string();
        let effect = Effect::Terraform { dir: dir.clone() };
        let steps = vec![step(
            target,
            format!("terraform apply in {dir}"),
            effect,
            "infrastructure goes forward only",
        )];
        let draft = Draft { name: "infrastructure".into(), title: "infrastructure".into(), weight: 0, steps };
        stages.push(stage(draft, 0));
    }
    stages
}

/// Written into every target of the wave before anything else happens there.
fn advance(wave: &[TargetId], number: usize) -> Draft {
    let steps = wave
        .iter()
        .map(|target| Step {
            id: StepId::new(""),
            target: target.clone(),
            component: None,
            level: 0,
            title: format!("go on to wave {number}"),
            effect: Effect::Advance { wave: number },
            undo: Undo::None { why: "nothing was done".to_owned() },
        })
        .collect();
    Draft { name: "advance".into(), title: format!("go on to wave {number}"), weight: 0, steps }
}

fn stage(draft: Draft, wave: usize) -> Stage {
    let id = match draft.name.as_str() {
        "finish" => draft.name,
        name if wave == 0 => name.to_owned(),
        name => format!("w{wave}-{name}"),
    };
    Stage { id, title: draft.title, wave, weight: draft.weight, steps: draft.steps }
}

/// Step names are made here and nowhere else.
fn mint_ids(stages: &mut [Stage]) {
    for stage in stages {
        let mut counts: BTreeMap<(TargetId, String), usize> = BTreeMap::new();
        for step in &mut stage.steps {
            let component = step.component.as_ref().map_or_else(|| "all".to_owned(), ToString::to_string);
            let count = counts.entry((step.target.clone(), component.clone())).or_default();
            *count += 1;
            step.id = StepId::new(format!("{}/{}/{component}/{count}", stage.id, step.target));
        }
    }
}

/// Holds count in full; a stage with writes is taken for 20 s, a snapshot for 4 minutes.
pub(super) fn expected(stages: &[Stage]) -> Duration {
    let step_time = |step: &Step| match &step.effect {
        Effect::Hold { duration, .. } => *duration,
        Effect::Snapshot { .. } => Duration::from_mins(4),
        Effect::WaitReady { .. } | Effect::Unstick { .. } | Effect::RunJob(_) => Duration::from_secs(20),
        _ => Duration::ZERO,
    };
    stages.iter().map(|stage| stage.steps.iter().map(step_time).max().unwrap_or_default()).sum()
}

/// What the plan for one target rests on, as one hash: the release before and the live objects as they matter.
#[must_use]
pub fn fingerprint(input: &TargetInput) -> String {
    // Object by object, so that no second copy of all of them is ever held.
    let live: BTreeMap<String, String> = input
        .live
        .iter()
        .map(|(reference, value)| {
            let mut object = diff::without_server_fields(value);
            // Whoever scales a workload between plan and run does not make the plan stale.
            if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
                spec.remove("replicas");
            }
            (format!("{} {reference}", reference.namespace), digest(&object))
        })
        .collect();
    let releases: Vec<u32> = input.history.iter().map(|release| release.revision.0).collect();
    digest(&json!({"cluster": input.cluster_uid, "releases": releases, "live": live}))
}

/// The part of a target's plan that is the same for every strategy.
pub(super) fn target_plan(
    site: &Site<'_>,
    inventory_indices: Vec<usize>,
    changes: Vec<super::Change>,
) -> TargetPlan {
    let target = site.target;
    let previous = site.input.previous();
    let tried =
        site.input.judged.iter().filter_map(|(object, judged)| Some((object.clone(), judged.tried.clone()?)));
    TargetPlan {
        cluster_uid: site.input.cluster_uid.clone(),
        traffic: target.traffic,
        region: target.region.clone().unwrap_or_else(|| target.id.to_string()),
        ingress: target.ingress.clone(),
        previous: previous.map(|release| release.revision),
        previous_version: previous.map(|release| release.version.clone()),
        fingerprint: fingerprint(site.input),
        changes,
        workloads: site.sized(),
        inventory: inventory_indices,
        rollback_jobs: Vec::new(),
        context: target.cluster.context.clone(),
        adopted: None,
        syncers: site.input.syncers.active.clone(),
        tried: tried.collect(),
    }
}

/// Objects that only older releases hold, and what becomes of them.
pub(super) fn fates(
    inputs: &Inputs<'_>,
    input: &TargetInput,
    needed: impl Fn(&Object) -> bool,
) -> Vec<(ObjectRef, Fate)> {
    let new: Vec<&Object> = input.named.objects.iter().filter(|object| needed(object)).collect();
    let (application, environment) = (inputs.env.application.as_str(), inputs.env.name.as_str());
    let keeper = inventory::Keeper { application, environment, asked: &inputs.prune };
    inventory::superseded(&new, &input.history, inputs.env.history_limit)
        .into_iter()
        .filter_map(|object| {
            let live = input.live.get(&object.reference())?;
            Some((object.reference(), keeper.fate(object, live)))
        })
        .collect()
}

/// Whether users' requests arrive at the target.
pub(super) fn is_live(site: &Site<'_>) -> bool {
    site.target.traffic == TrafficClass::Live
}
