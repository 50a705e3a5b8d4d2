//! The life of a process: admitted, pulled, started, ready, perhaps crashing, stopped.

use std::fmt::Write as _;

use serde_json::Value;

use super::behaviour::Behaviour;
use super::status::{self, Container};
use super::{Kubelet, PodIndex, Stage};
use crate::sim::kube::controllers::{Context, Controller, object};
use crate::sim::kube::kinds::KindId;
use crate::sim::kube::store::Stored;
use crate::sim::kube::store::{DeleteOptions, Key};
use crate::sim::queue::Millis;

/// The longest wait between two starts, in milliseconds.
const LONGEST_BACK_OFF: Millis = 300_000;

/// Between two complaints of an unready process, in milliseconds.
const PROBE_COMPLAINTS: Millis = 10_000;

/// Between two tries to make a container whose configuration is wrong, in milliseconds.
const CONFIG_RETRY: (Millis, Millis) = (10_000, 15_000);

/// Between two tries to pull an image from a registry that does not answer, in milliseconds.
const PULL_RETRY: (Millis, Millis) = (10_000, 20_000);

/// What happens to a process next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The node looks at the pod.
    Admit,
    /// The image could not be pulled.
    PullFailed,
    /// The node stops trying for a while.
    PullBackOff,
    /// The process starts.
    Start,
    /// The readiness probe passes, or would.
    Ready,
    /// The readiness probe fails again.
    ProbeFailed,
    /// The process runs on, but its probe fails from now on.
    Unready,
    /// The process ends by itself with this code.
    Exit(i32),
    /// The process has ended as asked; the pod can go.
    Stopped,
}

/// A step to take later: after so many milliseconds.
pub type Later = Vec<(Millis, Step)>;

/// Takes one step of a process that behaves as `behaviour` says; returns the steps that follow.
pub fn step(
    cx: &mut Context<'_>,
    kubelet: &mut Kubelet,
    index: PodIndex,
    step: Step,
    behaviour: &Behaviour,
) -> Later {
    let run = &kubelet.runs[index];
    if run.gone || kubelet.is_lost(&run.node) {
        return Vec::new();
    }
    let Some(pod) = cx.get(KindId::PODS, &run.namespace, &run.name).filter(|pod| object::uid(pod) == run.uid)
    else {
        return Vec::new();
    };
    let mut desk = Desk { cx, kubelet, index, pod, behaviour };
    match step {
        Step::Admit => desk.admit(),
        Step::PullFailed => desk.pull_failed(),
        Step::PullBackOff => desk.pull_back_off(),
        Step::Start => desk.start(),
        Step::Ready => desk.ready(),
        Step::ProbeFailed => desk.probe_failed(),
        Step::Unready => desk.unready(),
        Step::Exit(code) => desk.exit(code),
        Step::Stopped => desk.stopped(),
    }
}

/// What the node does when the pod is to stop: returns how long the process takes.
pub fn stop(cx: &mut Context<'_>, kubelet: &mut Kubelet, index: PodIndex, pod: &Value) -> Millis {
    let times = kubelet.times.stop;
    let run = &mut kubelet.runs[index];
    run.stopping = true;
    run.epoch += 1;
    let grace =
        object::number(pod, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or(30).max(0) as u64 * 1000;
    let running = run.stage == Stage::Running;
    if running {
        run.log.push((cx.at, "SIGTERM received, draining".into()));
        for container in object::items(pod, &["spec", "containers"]) {
            let message = format!("Stopping container {}", object::text(container, &["name"]));
            cx.event(pod, Controller::Kubelet, false, "Killing", &message);
        }
        let hook = object::items(pod, &["spec", "containers"])
            .first()
            .and_then(|container| object::number(container, &["lifecycle", "preStop", "sleep", "seconds"]))
            .unwrap_or(0)
            .max(0) as u64;
        (hook * 1000 + cx.random.millis(times)).min(grace.max(300))
    } else {
        cx.random.millis((200, 700)).min(grace.max(200))
    }
}

/// One step's view of its pod.
struct Desk<'a, 'b> {
    cx: &'a mut Context<'b>,
    kubelet: &'a mut Kubelet,
    index: PodIndex,
    pod: std::sync::Arc<Stored>,
    behaviour: &'a Behaviour,
}

impl Desk<'_, '_> {
    fn write(&mut self, phase: &str, container: &Container) {
        let run = &self.kubelet.runs[self.index];
        let stamp = self.cx.stamp();
        let status = status::of(&self.pod, run, phase, container, &stamp);
        self.cx.modify_status(KindId::PODS, &self.pod, Controller::Kubelet, |pod| pod["status"] = status);
    }

    fn tell(&mut self, warning: bool, reason: &str, message: &str) {
        self.cx.event(&self.pod, Controller::Kubelet, warning, reason, message);
    }

    fn log(&mut self, line: impl Into<String>) {
        let at = self.cx.at;
        self.kubelet.runs[self.index].log.push((at, line.into()));
    }

    fn containers(&self) -> Vec<String> {
        object::items(&self.pod, &["spec", "containers"])
            .iter()
            .map(|container| object::text(container, &["name"]).to_owned())
            .collect()
    }

    fn admit(&mut self) -> Later {
        self.write("Pending", &Container::Waiting { reason: "ContainerCreating", message: String::new() });
        let (node, image) = {
            let run = &self.kubelet.runs[self.index];
            (run.node.clone(), run.image.clone())
        };
        if self.behaviour.missing {
            self.tell(false, "Pulling", &format!("Pulling image \"{image}\""));
            return vec![(self.cx.random.millis((200, 900)), Step::PullFailed)];
        }
        if self.behaviour.registry_down && !self.kubelet.has_image(&node, &image) {
            return self.registry_down(&image);
        }
        let pull = self.kubelet.pull_time(&node, &image, self.cx.random);
        if pull == 0 {
            let message = format!("Container image \"{image}\" already present on machine");
            self.tell(false, "Pulled", &message);
        } else {
            self.tell(false, "Pulling", &format!("Pulling image \"{image}\""));
        }
        self.kubelet.runs[self.index].pulled = pull == 0;
        let init = object::items(&self.pod, &["spec", "initContainers"]).len() as u64;
        let init: Millis = (0..init).map(|_| self.cx.random.millis((500, 2_000))).sum();
        vec![(pull + init + 30, Step::Start)]
    }

    fn pull_failed(&mut self) -> Later {
        let image = self.kubelet.runs[self.index].image.clone();
        let why = format!(
            "failed to pull and unpack image \"{image}\": failed to resolve reference \"{image}\": {image}: not found"
        );
        let message = format!("rpc error: code = NotFound desc = {why}");
        self.tell(true, "Failed", &format!("Failed to pull image \"{image}\": {message}"));
        self.tell(true, "Failed", "Error: ErrImagePull");
        self.kubelet.runs[self.index].has_ip = true;
        self.write("Pending", &Container::Waiting { reason: "ErrImagePull", message });
        vec![(self.cx.random.millis((900, 1_500)), Step::PullBackOff)]
    }

    /// The registry does not answer: the node asks again, and again.
    fn registry_down(&mut self, image: &str) -> Later {
        let why = format!("failed to do request: Head \"https://registry/{image}\": dial tcp: i/o timeout");
        let message = format!("failed to pull and unpack image \"{image}\": {why}");
        self.tell(true, "Failed", &format!("Failed to pull image \"{image}\": {message}"));
        self.tell(true, "Failed", "Error: ErrImagePull");
        self.kubelet.runs[self.index].has_ip = true;
        self.write("Pending", &Container::Waiting { reason: "ErrImagePull", message });
        vec![(self.cx.random.millis(PULL_RETRY), Step::Admit)]
    }

    fn pull_back_off(&mut self) -> Later {
        let image = self.kubelet.runs[self.index].image.clone();
        self.tell(false, "BackOff", &format!("Back-off pulling image \"{image}\""));
        self.tell(true, "Failed", "Error: ImagePullBackOff");
        let message = format!("Back-off pulling image \"{image}\": ErrImagePull: {image}: not found");
        self.write("Pending", &Container::Waiting { reason: "ImagePullBackOff", message });
        Vec::new()
    }

    /// The kubelet makes the container's environment before the container, and tries again at each look at the pod.
    fn config_error(&mut self) -> Later {
        let (component, namespace) = {
            let run = &mut self.kubelet.runs[self.index];
            run.pulled = true;
            run.has_ip = true;
            (run.component.clone(), run.namespace.clone())
        };
        let message = format!("couldn't find key PASSWORD in Secret {namespace}/{component}");
        self.tell(true, "Failed", &format!("Error: {message}"));
        self.write("Pending", &Container::Waiting { reason: "CreateContainerConfigError", message });
        vec![(self.cx.random.millis(CONFIG_RETRY), Step::Start)]
    }

    fn start(&mut self) -> Later {
        if self.behaviour.no_config {
            return self.config_error();
        }
        let first = self.kubelet.runs[self.index].restarts == 0;
        if !self.kubelet.runs[self.index].pulled {
            let image = self.kubelet.runs[self.index].image.clone();
            let message = format!("Successfully pulled image \"{image}\"");
            self.tell(false, "Pulled", &message);
        }
        for container in self.containers() {
            self.tell(false, "Created", &format!("Created container: {container}"));
            self.tell(false, "Started", &format!("Started container {container}"));
        }
        let (at, stamp) = (self.cx.at, self.cx.stamp());
        let run = &mut self.kubelet.runs[self.index];
        run.pulled = true;
        run.init_done = true;
        run.has_ip = true;
        run.stage = Stage::Running;
        run.alive = true;
        run.started_at = at;
        run.started_text.clone_from(&stamp);
        run.counters = crate::sim::traffic::latency::Counters::default();
        let line = format!("starting {} {} on {}", run.component, run.version, run.name);
        let job = run.job;
        // a job's process has no probe: it is ready as soon as it runs
        run.ready = job;
        self.log(line);
        self.write("Running", &Container::Running { since: stamp });
        if self.behaviour.crash {
            return vec![(self.cx.random.millis((150, 900)), Step::Exit(1))];
        }
        if job && self.behaviour.hang {
            return Vec::new();
        }
        if job {
            let time = self.job_time();
            return vec![(time, Step::Exit(i32::from(self.behaviour.fail)))];
        }
        let mut later = Vec::new();
        if let Some(seconds) = self.behaviour.crash_after {
            later.push(((seconds * 1000.0) as Millis, Step::Exit(1)));
        }
        later.extend(self.readiness(first));
        later
    }

    fn job_time(&mut self) -> Millis {
        let container =
            object::items(&self.pod, &["spec", "containers"]).first().cloned().unwrap_or_default();
        match super::variable(&container, "JOB_SECONDS").and_then(|seconds| seconds.parse::<f64>().ok()) {
            Some(seconds) => (seconds * 1000.0) as Millis,
            None => self.cx.random.millis(self.kubelet.times.job),
        }
    }

    /// When the readiness probe passes for the first time: at the first probe after the process is up.
    fn readiness(&mut self, first: bool) -> Later {
        let container =
            object::items(&self.pod, &["spec", "containers"]).first().cloned().unwrap_or_default();
        let probe = &container["readinessProbe"];
        let period = object::number(probe, &["periodSeconds"]).unwrap_or(10).max(1) as u64 * 1000;
        let delay = object::count(probe, &["initialDelaySeconds"]).max(0) as u64 * 1000;
        if self.behaviour.unready {
            return vec![(delay.max(period), Step::ProbeFailed)];
        }
        let up = match self.behaviour.slow_start {
            Some(seconds) => (seconds * 1000.0) as Millis,
            // a second start finds its caches warm
            None if first => self.cx.random.millis(self.kubelet.times.start),
            None => self.cx.random.millis(self.kubelet.times.start) / 2,
        };
        if probe.is_null() {
            return vec![(up, Step::Ready)];
        }
        // the kubelet probes at once when a container starts, then every period
        let passes = if up <= delay { delay } else { delay + (up - delay).div_ceil(period) * period };
        let mut later = vec![(passes, Step::Ready)];
        if passes > delay + period {
            later.push((delay + period, Step::ProbeFailed));
        }
        later
    }

    fn ready(&mut self) -> Later {
        let run = &mut self.kubelet.runs[self.index];
        if run.stage != Stage::Running {
            return Vec::new();
        }
        if self.behaviour.unready {
            return self.probe_failed();
        }
        run.ready = true;
        let since = run.started_text.clone();
        self.log("listening, ready");
        self.write("Running", &Container::Running { since });
        Vec::new()
    }

    fn probe_failed(&mut self) -> Later {
        let run = &self.kubelet.runs[self.index];
        if run.ready || run.stage != Stage::Running {
            return Vec::new();
        }
        let container =
            object::items(&self.pod, &["spec", "containers"]).first().cloned().unwrap_or_default();
        let path = match object::text(&container, &["readinessProbe", "httpGet", "path"]) {
            "" => "/ready",
            path => path,
        };
        let port = object::number(&container, &["readinessProbe", "httpGet", "port"])
            .or_else(|| object::number(object::items(&container, &["ports"]).first()?, &["containerPort"]))
            .unwrap_or(8080);
        let mut message = String::new();
        if self.behaviour.unready {
            message.push_str("Readiness probe failed: HTTP probe failed with statuscode: 503");
        } else {
            let ip = &run.ip;
            let _ = write!(
                message,
                "Readiness probe failed: Get \"http://{ip}:{port}{path}\": dial tcp {ip}:{port}: connect: connection refused"
            );
        }
        self.tell(true, "Unhealthy", &message);
        vec![(PROBE_COMPLAINTS, Step::ProbeFailed)]
    }

    fn unready(&mut self) -> Later {
        let run = &mut self.kubelet.runs[self.index];
        if run.stage != Stage::Running {
            return Vec::new();
        }
        run.ready = false;
        let since = run.started_text.clone();
        self.write("Running", &Container::Running { since });
        self.probe_failed()
    }

    fn exit(&mut self, code: i32) -> Later {
        let stamp = self.cx.stamp();
        if self.kubelet.runs[self.index].stage != Stage::Running {
            return Vec::new();
        }
        let line = if code == 0 { "done".to_owned() } else { format!("fatal: exiting with code {code}") };
        self.log(line);
        let run = &mut self.kubelet.runs[self.index];
        run.ready = false;
        run.alive = false;
        run.rate = 0.0;
        let ended = Container::Ended { code, since: run.started_text.clone(), until: stamp };
        let over = run.job && (code == 0 || !run.restart);
        if over || !run.restart {
            run.stage = Stage::Ended;
            let phase = if code == 0 { "Succeeded" } else { "Failed" };
            self.write(phase, &ended);
            return Vec::new();
        }
        run.stage = Stage::Waiting;
        run.previous_log = std::mem::take(&mut run.log);
        let crashes = run.restarts;
        run.restarts += 1;
        run.epoch += 1;
        if crashes == 0 {
            // the first time it is started again at once
            run.last_state = Some(ended.clone());
            run.restarts = 0;
            self.write("Running", &ended);
            self.kubelet.runs[self.index].restarts = 1;
            return vec![(self.cx.random.millis((500, 1_200)), Step::Start)];
        }
        run.restarts = crashes;
        run.last_state = Some(ended);
        let wait = (self.kubelet.times.crash_back_off << (crashes - 1).min(8)).min(LONGEST_BACK_OFF);
        self.crash_back_off(wait);
        self.kubelet.runs[self.index].restarts = crashes + 1;
        vec![(wait, Step::Start)]
    }

    fn crash_back_off(&mut self, wait: Millis) {
        let container = self.containers().first().cloned().unwrap_or_default();
        let run = &self.kubelet.runs[self.index];
        let pod = format!("{}_{}({})", run.name, run.namespace, run.uid);
        let text = if wait >= LONGEST_BACK_OFF {
            "5m0s".to_owned()
        } else if wait >= 60_000 {
            format!("{}m{}s", wait / 60_000, wait / 1000 % 60)
        } else {
            format!("{}s", wait / 1000)
        };
        let message = format!("back-off {text} restarting failed container={container} pod={pod}");
        self.tell(true, "BackOff", &format!("Back-off restarting failed container {container} in pod {pod}"));
        self.write("Running", &Container::Waiting { reason: "CrashLoopBackOff", message });
    }

    fn stopped(&mut self) -> Later {
        let run = &mut self.kubelet.runs[self.index];
        run.alive = false;
        run.stage = Stage::Ended;
        run.rate = 0.0;
        let key = Key::new(KindId::PODS, &run.namespace, &run.name);
        let options =
            DeleteOptions { grace_seconds: Some(0), uid: Some(run.uid.clone()), ..DeleteOptions::default() };
        // gone already if somebody forced it
        let _ = self.cx.store.delete(self.cx.now, Controller::Kubelet.user(), &key, &options);
        Vec::new()
    }
}
