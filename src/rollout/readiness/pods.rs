//! The root cause of a pod that is not ready: what stands in its way, and whether waiting could help.

use super::{denials, images, scheduling};
use crate::domain::observed::{Container, Event, Pod, Snapshot};
use jiff::Timestamp;
use std::time::Duration;

/// Restarts from which a crash loop is no accident.
const CRASHES_THAT_COUNT: u32 = 2;
/// A Secret may be made by a controller a moment after the pod that reads it.
const CONFIG_GRACE: Duration = Duration::from_secs(10);
/// The same for one that is mounted; the kubelet tries that less often.
const MOUNT_GRACE: Duration = Duration::from_secs(30);
/// Autoscalers of nodes need a minute or two.
const NODE_GRACE: Duration = Duration::from_mins(2);

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    /// The registry has no such image.
    ImageNotFound,
    /// The image has no build for the node.
    ImagePlatform,
    /// The registry refuses the credentials.
    ImageUnauthorized,
    /// The image cannot be pulled for another reason.
    ImagePull,
    /// A container ends again and again.
    Crash,
    /// A container cannot be made: a Secret, `ConfigMap` or key that it reads is not there, or a command.
    Config,
    /// No node takes the pod.
    Unschedulable,
    /// The API server lets no pod be created.
    Denied,
    /// A volume cannot be mounted.
    Mount,
    /// The readiness probe fails.
    Probe,
    /// The pod ended badly.
    PodFailed,
    /// Its node is away: no fault of the release.
    Node,
}

/// Why a pod is not ready.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cause {
    /// What kind of thing.
    pub sort: Sort,
    /// In one line, without the pod's name, so that equal causes of several pods are equal.
    pub what: String,
    /// Whether waiting is in vain.
    pub sure: bool,
    /// A command that shows more, or confirms it.
    pub remedy: Option<String>,
}

impl Cause {
    pub(super) fn new(sort: Sort, what: impl Into<String>) -> Self {
        Self { sort, what: what.into(), sure: true, remedy: None }
    }

    pub(super) fn remedy(self, remedy: Option<String>) -> Self {
        Self { remedy, ..self }
    }

    pub(super) fn unsure(self) -> Self {
        Self { sure: false, ..self }
    }

    /// Sure only when the pod is as old as this.
    fn after(self, grace: Duration, pod: &Pod, now: Timestamp) -> Self {
        let old = pod.created.is_none_or(|created| now.duration_since(created) >= signed(grace));
        Self { sure: self.sure && old, ..self }
    }
}

fn signed(duration: Duration) -> jiff::SignedDuration {
    jiff::SignedDuration::try_from(duration).unwrap_or(jiff::SignedDuration::MAX)
}

/// A pod with what is known around it.
#[derive(Clone, Copy, Debug)]
pub struct Patient<'a> {
    /// Everything else in the namespace.
    pub snapshot: &'a Snapshot,
    /// The pod's namespace.
    pub namespace: &'a str,
    /// The pod's name.
    pub name: &'a str,
    /// The pod.
    pub pod: &'a Pod,
    /// Now.
    pub now: Timestamp,
}

impl Patient<'_> {
    /// Why it is not ready; `None` when it is, or when nothing is known to be wrong.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        let pod = self.pod;
        if pod.ready || pod.phase == "Succeeded" {
            return None;
        }
        self.node()
            .or_else(|| self.ended())
            .or_else(|| pod.containers.iter().find_map(|container| self.container(container)))
            .or_else(|| {
                let words = pod.unschedulable.as_ref()?;
                Some(scheduling::cause(words).after(NODE_GRACE, pod, self.now))
            })
            .or_else(|| self.mount())
            .or_else(|| self.probe())
    }

    /// Warnings about this pod that meet a condition, newest first.
    fn newest(&self, meets: impl Fn(&Event) -> bool) -> Option<&Event> {
        let about = format!("Pod/{}", self.name);
        self.snapshot.warnings.iter().rev().find(|event| event.about == about && meets(event))
    }

    fn node(&self) -> Option<Cause> {
        let why = match &self.pod.disrupted {
            Some(reason) => reason.clone(),
            None => self.newest(|event| event.reason == "NodeNotReady")?.message.clone(),
        };
        Some(Cause::new(Sort::Node, format!("it was taken off its node ({why})")).unsure())
    }

    /// Whether its status says that its node is away: the node's controller has taken the readiness that its containers still
    /// claim, or a kubelet has told nothing at all since it was placed there.
    pub(super) fn is_cut_off(&self) -> bool {
        let pod = self.pod;
        if pod.ready || pod.node.is_empty() {
            return false;
        }
        let mut own = pod.containers.iter().filter(|container| !container.init).peekable();
        match pod.phase.as_str() {
            "Running" => own.peek().is_some() && own.all(|container| container.ready),
            "Pending" => {
                let long = |created| self.now.duration_since(created) >= signed(NODE_GRACE);
                pod.containers.is_empty() && pod.created.is_some_and(long)
            }
            _ => false,
        }
    }

    fn ended(&self) -> Option<Cause> {
        if self.pod.phase != "Failed" {
            return None;
        }
        let broken = self
            .pod
            .containers
            .iter()
            .find(|container| container.last_exit.as_ref().is_some_and(|(code, _)| *code != 0));
        let why = match broken {
            Some(container) => format!("container {} ended with {}", container.name, exit(container)),
            None if self.pod.message.is_empty() => "it gave no reason".to_owned(),
            None => self.pod.message.clone(),
        };
        Some(Cause::new(Sort::PodFailed, format!("the pod failed: {why}")))
    }

    fn container(&self, container: &Container) -> Option<Cause> {
        let nothing = (String::new(), String::new());
        let (reason, message) = container.waiting.as_ref().unwrap_or(&nothing);
        let name = &container.name;
        match reason.as_str() {
            "ErrImagePull" | "ImagePullBackOff" => {
                // The back-off's own message often leaves out what the pull said.
                let pull =
                    self.newest(|e| e.reason == "Failed" && e.message.contains("Failed to pull image"));
                let words = format!("{} {message}", pull.map_or("", |event| event.message.as_str()));
                let cause = images::cause(&container.image, words.trim());
                Some(if reason == "ErrImagePull" { cause.unsure() } else { cause })
            }
            "InvalidImageName" | "ErrImageNeverPull" | "RegistryUnavailable" => {
                let what = format!("image {} cannot be pulled: {reason}: {message}", container.image);
                Some(Cause::new(Sort::ImagePull, what))
            }
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
                Some(config(name, reason, message, self.namespace).after(CONFIG_GRACE, self.pod, self.now))
            }
            _ => self.crash(container),
        }
    }

    fn crash(&self, container: &Container) -> Option<Cause> {
        let backing_off = container.waiting.as_ref().is_some_and(|(reason, _)| reason == "CrashLoopBackOff");
        let ended_badly = container.ended && container.last_exit.as_ref().is_some_and(|(code, _)| *code != 0);
        if container.ready || !(backing_off || ended_badly) {
            return None;
        }
        let name = if container.init {
            format!("init container {}", container.name)
        } else {
            format!("container {}", container.name)
        };
        let exit =
            container.last_exit.as_ref().map_or_else(String::new, |_| format!(", last {}", exit(container)));
        let killed = ["Liveness", "Startup"].iter().find_map(|probe| {
            let failed = self.newest(|e| e.reason == "Unhealthy" && e.message.starts_with(probe))?;
            Some(probe_said(container, &probe.to_lowercase(), &failed.message))
        });
        if container.restarts < CRASHES_THAT_COUNT {
            return Some(
                Cause::new(Sort::Crash, format!("{name} ended and is started again{exit}")).unsure(),
            );
        }
        let restarts = container.restarts;
        Some(Cause::new(
            Sort::Crash,
            match killed {
                Some(probe) => {
                    format!("{name} is killed again and again ({restarts} restarts{exit}): {probe}")
                }
                None => format!("{name} crashes again and again ({restarts} restarts{exit})"),
            },
        ))
    }

    fn mount(&self) -> Option<Cause> {
        let event = self.newest(|e| matches!(e.reason.as_str(), "FailedMount" | "FailedAttachVolume"))?;
        // Once a container has run, its volumes were there.
        if self.pod.containers.iter().any(|c| c.last_exit.is_some() || c.restarts > 0) {
            return None;
        }
        let volume = event.message.split_once("for volume \"").and_then(|(_, rest)| rest.split_once('"'));
        let what = match volume {
            Some((volume, rest)) => {
                let why = rest.trim_start_matches([' ', ':']);
                let missing = missing(why);
                format!("volume {volume} cannot be mounted: {}", missing.as_deref().unwrap_or(why))
            }
            None => format!("a volume cannot be mounted: {}", event.message),
        };
        let cause = Cause::new(Sort::Mount, what);
        Some(if missing(&event.message).is_some() {
            cause.after(MOUNT_GRACE, self.pod, self.now)
        } else {
            cause.unsure()
        })
    }

    fn probe(&self) -> Option<Cause> {
        let container = self.pod.containers.iter().find(|container| !container.ready && !container.init)?;
        let (probe, event) = ["Readiness", "Startup", "Liveness"].iter().find_map(|probe| {
            Some((probe, self.newest(|e| e.reason == "Unhealthy" && e.message.starts_with(probe))?))
        })?;
        let said = probe_said(container, &probe.to_lowercase(), &event.message);
        Some(Cause::new(Sort::Probe, format!("container {}: {said}", container.name)).unsure())
    }
}

/// `its readiness probe fails: GET /ready on port 8080 answered 503`.
fn probe_said(container: &Container, probe: &str, words: &str) -> String {
    let asked = container.probes.get(probe).map_or("", String::as_str);
    let answer = words.split_once(": ").map_or(words, |(_, answer)| answer);
    let answer = if let Some(status) = answer.strip_prefix("HTTP probe failed with statuscode: ") {
        format!("answered {status}")
    } else if answer.contains("connection refused") {
        "connection refused".to_owned()
    } else if answer.contains("deadline exceeded") || answer.contains("Client.Timeout") {
        "gave no answer in time".to_owned()
    } else {
        answer.to_owned()
    };
    let gap = if answer.starts_with("answered") || answer.starts_with("gave") { " " } else { ": " };
    if asked.is_empty() {
        return format!("its {probe} probe fails: {answer}");
    }
    format!("its {probe} probe fails: {asked}{gap}{answer}")
}

fn config(container: &str, reason: &str, message: &str, namespace: &str) -> Cause {
    let cause = match missing(message) {
        Some(missing) => Cause::new(Sort::Config, format!("container {container} cannot start: {missing}"))
            .remedy(Some(format!("kubectl -n {namespace} get secrets,configmaps"))),
        None => Cause::new(Sort::Config, format!("container {container} cannot start: {reason}: {message}")),
    };
    // The kubelet has not seen the object yet.
    if message.contains("failed to sync") { cause.unsure() } else { cause }
}

/// `Secret x does not exist`, `ConfigMap x has no key k`, from the kubelet's words.
fn missing(words: &str) -> Option<String> {
    let kind = |word: &str| match word.to_lowercase().as_str() {
        "secret" => Some("Secret"),
        "configmap" => Some("ConfigMap"),
        _ => None,
    };
    if let Some((_, rest)) = words.split_once("couldn't find key ") {
        // couldn't find key KEY in Secret NAMESPACE/NAME
        let mut parts = rest.split_whitespace();
        let (key, _, of, name) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let name = name.rsplit('/').next()?.trim_end_matches([',', '.']);
        return Some(format!("{} {name} has no key {key}", kind(of)?));
    }
    if let Some((_, rest)) = words.split_once("references non-existent ") {
        // references non-existent config key: KEY | references non-existent secret key: KEY
        let (of, key) = rest.split_once(" key: ")?;
        let kind = if of == "config" { "ConfigMap" } else { "Secret" };
        return Some(format!("the {kind} has no key {key}"));
    }
    let (before, _) = words.split_once("\" not found")?;
    let (before, name) = before.rsplit_once('"')?;
    let kind = kind(before.trim_end().rsplit([' ', ':']).next()?)?;
    Some(format!("{kind} {name} does not exist"))
}

fn exit(container: &Container) -> String {
    let Some((code, reason)) = &container.last_exit else { return "no exit code".to_owned() };
    format!("exit {code} ({})", exit_meaning(*code, reason))
}

/// What an exit code says, as the shell and the kernel use it.
#[must_use]
pub fn exit_meaning(code: i32, reason: &str) -> String {
    let text = match code {
        _ if reason == "OOMKilled" => "out of memory",
        126 => "command not executable",
        127 => "command not found",
        128 if matches!(reason, "StartError" | "ContainerCannotRun") => "command cannot be started",
        130 => "interrupted, SIGINT",
        132 => "illegal instruction, SIGILL: built for another processor?",
        134 => "aborted, SIGABRT",
        135 => "bus error, SIGBUS",
        136 => "arithmetic error, SIGFPE",
        137 => "killed, SIGKILL",
        139 => "segmentation fault",
        141 => "broken pipe, SIGPIPE",
        143 => "terminated, SIGTERM",
        _ => reason,
    };
    text.to_owned()
}

/// Why a controller cannot create pods, from the newest `FailedCreate` event about it since `since`.
#[must_use]
pub fn denial(snapshot: &Snapshot, namespace: &str, about: &str, since: Option<Timestamp>) -> Option<Cause> {
    let event = snapshot.warnings.iter().rev().find(|event| {
        let recent = match (event.last, since) {
            // Both are the server's time, to the second.
            (Some(last), Some(since)) => last.as_second() >= since.as_second(),
            _ => true,
        };
        event.about == about && event.reason == "FailedCreate" && recent
    })?;
    Some(denials::cause(namespace, &event.message))
}

/// The cause in the words of a condition.
#[must_use]
pub fn denied(namespace: &str, words: &str) -> Cause {
    denials::cause(namespace, words)
}

#[cfg(test)]
#[path = "pods_tests.rs"]
mod tests;
