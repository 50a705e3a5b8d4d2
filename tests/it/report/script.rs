//! What a run of the fixture's plan tells: well, or up to a step where something happens.

use super::fixture::{at, plan};
use deployctl::domain::effect::{Effect, Size};
use deployctl::domain::event::{Event, Kind, StillWrong};
use deployctl::domain::ids::Revision;
use deployctl::domain::object::ObjectRef;
use deployctl::domain::step::{Lane, Stage, Step, Undo};
use std::time::Duration;

/// Events with a clock.
pub struct Script {
    pub events: Vec<Event>,
    seconds: i64,
}

impl Script {
    /// The start of a run.
    pub fn begin() -> Self {
        let plan = plan();
        let mut script = Self { events: Vec::new(), seconds: 0 };
        script.tell(Kind::RunStarted {
            run: plan.run.clone(),
            environment: plan.environment.clone(),
            revision: plan.revision,
            version: plan.version.clone(),
            resumed: false,
            expected: plan.expected,
        });
        script
    }

    pub fn tell(&mut self, kind: Kind) -> &mut Self {
        self.events.push(Event { at: at(self.seconds), kind });
        self
    }

    pub fn pass(&mut self, seconds: i64) -> &mut Self {
        self.seconds += seconds;
        self
    }

    /// All stages before the one named.
    pub fn until(&mut self, stage: &str) -> &mut Self {
        let plan = plan();
        for before in plan.stages.iter().take_while(|known| known.id != stage) {
            self.stage(before);
        }
        self
    }

    pub fn stage(&mut self, stage: &Stage) -> &mut Self {
        self.stage_started(stage);
        for step in &stage.steps {
            self.step(step);
        }
        self.tell(Kind::StageFinished { stage: stage.id.clone(), wave: stage.wave, weight: stage.weight })
    }

    pub fn stage_started(&mut self, stage: &Stage) -> &mut Self {
        let mut targets: Vec<_> = stage.steps.iter().map(|step| step.target.clone()).collect();
        targets.sort();
        targets.dedup();
        let (id, title) = (stage.id.clone(), stage.title.clone());
        self.tell(Kind::StageStarted { stage: id, title, wave: stage.wave, targets })
    }

    pub fn started(&mut self, step: &Step) -> &mut Self {
        let (id, target, component) = (step.id.clone(), step.target.clone(), step.component.clone());
        self.tell(Kind::StepStarted { step: id, target, component, title: step.title.clone() })
    }

    pub fn progress(&mut self, step: &Step, detail: &str) -> &mut Self {
        let (id, target, component) = (step.id.clone(), step.target.clone(), step.component.clone());
        self.tell(Kind::StepProgress { step: id, target, component, detail: detail.into() })
    }

    pub fn failed(&mut self, step: &Step, cause: &str) -> &mut Self {
        let (id, target, component) = (step.id.clone(), step.target.clone(), step.component.clone());
        self.tell(Kind::StepFailed { step: id, target, component, cause: cause.into() })
    }

    pub fn undone(&mut self, step: &Step) -> &mut Self {
        let (id, target, title) = (step.id.clone(), step.target.clone(), step.title.clone());
        self.tell(Kind::StepUndone { step: id, target, title })
    }

    /// A step that ends well, as long as it takes.
    pub fn step(&mut self, step: &Step) -> &mut Self {
        self.started(step);
        let before = self.seconds;
        let detail = match &step.effect {
            Effect::Create { .. } => "created".to_owned(),
            Effect::Scale { to: Size::ShareBeside { percent: 10, .. }, .. } => "0 → 1 pods".to_owned(),
            Effect::Scale { to: Size::ShareBeside { .. }, .. } => "1 → 2 pods".to_owned(),
            Effect::Scale { to: Size::Exactly(0), .. } => "6 → 0 pods".to_owned(),
            Effect::Scale { .. } => "2 → 6 pods".to_owned(),
            Effect::WaitReady { .. } => {
                self.pass(6).progress(step, "0/1 pods ready (container api is not ready)").pass(6);
                "ready after 12s".to_owned()
            }
            Effect::WaitTraffic { .. } => "kva-api serves from 6 pods".to_owned(),
            Effect::Hold { duration, gates, .. } => {
                self.measured(step, *duration, gates.is_empty());
                format!("{} without a breach", deployctl::domain::units::human(*duration))
            }
            Effect::Smoke { .. } => {
                self.smoke(step, true, "200 in 12 ms");
                "1 passed".to_owned()
            }
            Effect::Snapshot { .. } => {
                self.pass(60).progress(step, "40 %").pass(60);
                "prime-spark-production-db-r8 is available".to_owned()
            }
            Effect::Delete { .. } => "1 deleted".to_owned(),
            _ => "1 created, 1 changed, 0 as they were".to_owned(),
        };
        let took = Duration::from_secs((self.seconds - before).unsigned_abs());
        let (id, target, component) = (step.id.clone(), step.target.clone(), step.component.clone());
        self.tell(Kind::StepFinished { step: id, target, component, detail, took })
    }

    pub fn smoke(&mut self, step: &Step, passed: bool, detail: &str) -> &mut Self {
        let target = step.target.clone();
        self.tell(Kind::SmokeTested { test: "health".into(), target, passed, detail: detail.into() })
    }

    fn measured(&mut self, step: &Step, duration: Duration, standby: bool) {
        for round in 1..=duration.as_secs() / 30 {
            self.pass(30);
            if standby {
                self.smoke(step, true, "200 in 11 ms");
            } else {
                let error_rate = format!("0.2{} %", round % 10);
                self.gate(step, "errors", "healthy", &error_rate, "≤ 5.00 %");
                self.gate(step, "latency", "healthy", "182 ms", "≤ 200 ms");
            }
        }
    }

    pub fn gate(
        &mut self,
        step: &Step,
        gate: &str,
        verdict: &'static str,
        new: &str,
        limit: &str,
    ) -> &mut Self {
        self.tell(Kind::GateMeasured {
            gate: gate.into(),
            target: step.target.clone(),
            component: "kva-api".into(),
            verdict,
            new: (!new.is_empty()).then(|| new.to_owned()),
            stable: Some(if gate == "errors" { "0.20 %" } else { "178 ms" }.to_owned()),
            limit: limit.into(),
            explanation: None,
        })
    }

    pub fn finish(
        &mut self,
        outcome: &'static str,
        cause: Option<&str>,
        next: &[&str],
        still_wrong: &[StillWrong],
    ) -> &mut Self {
        let took = Duration::from_secs(self.seconds.unsigned_abs());
        self.tell(Kind::RunFinished {
            outcome,
            revision: Revision(8),
            cause: cause.map(str::to_owned),
            took,
            next: next.iter().map(|line| (*line).to_owned()).collect(),
            remaining: still_wrong.iter().map(ToString::to_string).collect(),
            still_wrong: still_wrong.to_vec(),
            serves: false,
            owed: vec![],
            kept: vec![],
        })
    }

    /// The rollback of what was begun: lane by lane, each step undone.
    pub fn turn_back(&mut self, cause: &str, evidence: Vec<(&str, Vec<String>)>) -> &mut Self {
        self.tell(Kind::RollbackStarted { cause: cause.into() });
        for (target, lines) in evidence {
            self.tell(Kind::Evidence { target: target.into(), lines });
        }
        for lane in [Lane::Traffic, Lane::Capacity, Lane::Config] {
            self.lane(lane);
        }
        self
    }

    pub fn lane(&mut self, wanted: Lane) -> &mut Self {
        let begun: Vec<_> = self
            .events
            .iter()
            .filter_map(|event| match &event.kind {
                Kind::StepStarted { step, .. } => Some(step.clone()),
                _ => None,
            })
            .collect();
        self.tell(Kind::RollbackLane { lane: wanted });
        let plan = plan();
        for step in plan.stages.iter().rev().flat_map(|stage| stage.steps.iter().rev()) {
            if matches!(&step.undo, Undo::Effects { lane, .. } if *lane == wanted) && begun.contains(&step.id)
            {
                self.pass(1).undone(step);
            }
        }
        self
    }
}

/// Everything goes well.
pub fn good() -> Vec<Event> {
    let mut script = Script::begin();
    script.until("none such");
    script.finish("deployed", None, &["deployctl status production"], &[]).events.clone()
}

/// The error rate of the live region breaks its limit at 25 %.
pub fn rolled_back() -> Vec<Event> {
    let mut script = Script::begin();
    script.until("w2-hold-25");
    hold_breaks(&mut script);
    let cause = "us-east-1: errors of kva-api: 6.10 %, limit ≤ 5.00 %, 3 times in a row, stable 0.20 %";
    script.turn_back(cause, vec![("us-east-1", evidence("us-east-1"))]);
    script.finish("rolled-back", Some(cause), &["deployctl show production 8"], &[]).events.clone()
}

fn hold_breaks(script: &mut Script) {
    let plan = plan();
    let stage = plan.stages.iter().find(|stage| stage.id == "w2-hold-25").expect("in the plan");
    let hold = &stage.steps[0];
    script.stage_started(stage).started(hold);
    script.pass(30).gate(hold, "errors", "healthy", "0.31 %", "≤ 5.00 %");
    script.gate(hold, "latency", "not enough data", "", "≤ 200 ms");
    for (value, verdict) in [("5.90 %", "bad"), ("6.00 %", "bad"), ("6.10 %", "bad")] {
        script.pass(30).gate(hold, "errors", verdict, value, "≤ 5.00 %");
        script.gate(hold, "latency", "healthy", "190 ms", "≤ 200 ms");
    }
    script.failed(hold, "errors of kva-api: 6.10 %, limit ≤ 5.00 %, 3 times in a row, stable 0.20 %");
}

pub fn evidence(target: &str) -> Vec<String> {
    let mut lines = vec![
        format!("{target}: blocked Deployment/worker-r8 (after kva-api)"),
        format!(
            "{target}: diff Deployment/kva-api-r8 spec.template.spec.containers[name=api].image: a:1 → a:2"
        ),
        format!("{target}: kva-api-r8: 2/2 pods ready"),
    ];
    for (second, pod) in [(10, "x2x7q"), (12, "z9kkw")] {
        lines.push(format!(
            "{target}: event 2026-01-05T03:10:{second}Z Pod/kva-api-r8-6d4f9c7b8d-{pod} Unhealthy ×4: Readiness probe failed: HTTP 500"
        ));
    }
    lines.extend((1..=20).map(|n| {
        format!("{target}: log 2026-01-05T03:10:{n:02}Z kva-api-r8-6d4f9c7b8d-x2x7q: line {n}\u{1b}[31m")
    }));
    lines
}

/// The pods crash on the standby, and one step cannot be taken back.
pub fn broken() -> Vec<Event> {
    let mut script = Script::begin();
    script.until("w1-canary-25");
    let plan = plan();
    let stage = plan.stages.iter().find(|stage| stage.id == "w1-canary-25").expect("in the plan");
    script.stage_started(stage).step(&stage.steps[0]).started(&stage.steps[1]).pass(20);
    let why = "2/2 pods of Deployment/kva-api-r8: container api crashes again and again (3 restarts, last exit 1 (Error))";
    script.failed(&stage.steps[1], why);
    let cause = format!("us-west-2: {why}");
    script.tell(Kind::RollbackStarted { cause: cause.clone() }).lane(Lane::Traffic);
    let step =
        plan.stages.iter().find(|stage| stage.id == "w1-prepare").expect("in the plan").steps[0].clone();
    script.tell(Kind::RollbackLane { lane: Lane::Config }).pass(15);
    script.tell(Kind::UndoFailed {
        step: step.id,
        target: step.target,
        title: step.title,
        cause: "ConfigMap/app: 403 forbidden".into(),
    });
    script
        .finish(
            "broken",
            Some(&cause),
            &["deployctl rollback production", "deployctl status production"],
            &[StillWrong {
                target: "us-west-2".into(),
                what: "apply 2 objects of configuration is not taken back".into(),
                object: Some(ObjectRef::new("v1", "ConfigMap", "kva", "app")),
                cause: "ConfigMap/app: 403 forbidden".into(),
                next: vec![
                    "kubectl --context west -n kva describe configmap/app".into(),
                    "deployctl rollback production  # tries it again".into(),
                ],
            }],
        )
        .events
        .clone()
}

/// Ctrl-C in the first hold, after a gate that was held up and contact that came and went.
pub fn interrupted() -> Vec<Event> {
    let mut script = Script::begin();
    script.until("w2-hold-10");
    let plan = plan();
    let stage = plan.stages.iter().find(|stage| stage.id == "w2-hold-10").expect("in the plan");
    let hold = &stage.steps[0];
    script.stage_started(stage).started(hold);
    for _ in 0..10 {
        script.pass(30).gate(hold, "errors", "no data", "", "≤ 5.00 %");
    }
    script.progress(hold, "held up: errors of kva-api: no data").pass(30);
    script.progress(hold, "held up: errors of kva-api: no data, still").pass(10);
    script.tell(Kind::Alert {
        severity: "warning",
        target: Some("us-east-1".into()),
        message: "errors of kva-api: no data".into(),
    });
    script.tell(Kind::Interrupted).lane(Lane::Traffic);
    let next = ["deployctl resume production", "deployctl rollback production"];
    script.finish("interrupted", None, &next, &[]).events.clone()
}
