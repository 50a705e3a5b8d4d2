//! Platform, targets, waves and what belongs to a target.

use super::{Cx, values};
use crate::config::codes;
use crate::config::model::{EnvironmentFile, PlatformFile, PlatformName, TargetFile, TrafficFile};
use crate::domain::environment::{Backup, ClusterAddress, Platform, RdsBackup, Target, TrafficClass};
use crate::domain::ids::TargetId;
use crate::domain::secret::conceal_url;
use serde_json::{Map, Value};
use std::path::PathBuf;

impl Cx<'_> {
    pub(super) fn platform(&mut self, file: &EnvironmentFile, application: &str) -> Platform {
        let compose =
            |host: Option<String>, project: Option<String>, hailo: Option<bool>| Platform::Compose {
                host: host.unwrap_or_else(|| "local".to_owned()),
                project: project.unwrap_or_else(|| application.to_owned()),
                hailo: hailo.unwrap_or(false),
            };
        match &file.platform {
            None | Some(PlatformFile::Named(PlatformName::Kubernetes)) => Platform::Kubernetes,
            Some(PlatformFile::Named(PlatformName::Compose)) => compose(None, None, None),
            Some(PlatformFile::Detailed(detail)) => {
                let settings = detail.compose.clone().unwrap_or_default();
                if let Some(host) = &settings.host
                    && host != "local"
                    && host.strip_prefix("ssh://").is_none_or(str::is_empty)
                {
                    let diagnostic = self
                        .error(
                            codes::UNKNOWN_WORD,
                            &["platform", "compose", "host"],
                            format!("`{host}` is not a machine"),
                        )
                        .help("write `local` or `ssh://USER@HOST`");
                    self.out.push(diagnostic);
                }
                compose(settings.host, settings.project, settings.hailo)
            }
        }
    }

    pub(super) fn targets(&mut self, file: &EnvironmentFile, name: &str, compose: bool) -> Vec<Target> {
        let targets: Vec<Target> = self
            .ordered(&["targets"])
            .iter()
            .filter_map(|id| Some((id, file.targets.get(id)?)))
            .map(|(id, target)| self.target(id, target, compose))
            .collect();
        if !targets.is_empty() {
            return targets;
        }
        if compose {
            return vec![local_target(name)];
        }
        let given = self.tree.get("targets").is_some_and(|node| !node.entries().is_empty());
        if !given {
            let diagnostic = self
                .error(codes::MISSING, &["targets"], "the environment names no targets")
                .why("there is no cluster that a release could go to")
                .help("add `targets: {NAME: {cluster: {context: CONTEXT}}}`");
            self.out.push(diagnostic);
        }
        targets
    }

    fn target(&mut self, id: &str, file: &TargetFile, compose: bool) -> Target {
        let path = ["targets", id];
        self.check_name(id, &path);
        let cluster = file.cluster.clone().unwrap_or_default();
        let named = cluster.context.is_some() || cluster.kubeconfig.is_some() || cluster.eks.is_some();
        let broken = self.tree.find(&["targets", id, "cluster"]).is_some_and(|n| !n.entries().is_empty());
        if !compose && !named && !broken {
            let diagnostic = self
                .error(codes::BAD_CLUSTER, &path, format!("target `{id}` has no cluster"))
                .why("deployctl must know which API server it talks to; it never guesses the current context")
                .help("add `cluster: {context: NAME}`; `kubectl config get-contexts` lists the names");
            self.out.push(diagnostic);
        }
        if let Some(url) = &file.ingress {
            conceal_url(url);
        }
        self.check_url(file.ingress.as_deref(), &["targets", id, "ingress"]);
        let region = file.region.clone().unwrap_or_else(|| id.to_owned());
        Target {
            id: TargetId::new(id),
            cloud: file.cloud.clone(),
            prometheus: self.prometheus(id, file.prometheus.as_ref(), &region),
            region: Some(region),
            cluster: ClusterAddress {
                context: cluster.context,
                kubeconfig: cluster.kubeconfig.map(PathBuf::from),
                eks: cluster.eks,
            },
            traffic: match file.traffic {
                Some(TrafficFile::None) => TrafficClass::None,
                _ => TrafficClass::Live,
            },
            ingress: file.ingress.clone(),
            values: values(&file.values),
        }
    }

    pub(super) fn check_url(&mut self, url: Option<&str>, path: &[&str]) {
        let Some(url) = url else { return };
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        if rest.is_none_or(|rest| rest.is_empty() || rest.contains(char::is_whitespace)) {
            let diagnostic = self
                .error(codes::UNKNOWN_WORD, path, format!("`{url}` is not a URL"))
                .help(format!("write `http://{}` or `https://…`", url.trim_start_matches('/')));
            self.out.push(diagnostic);
        }
    }

    pub(super) fn waves(&mut self, file: &EnvironmentFile, targets: &[Target]) -> Vec<Vec<TargetId>> {
        let Some(waves) = &file.waves else {
            return targets.iter().map(|target| vec![target.id.clone()]).collect();
        };
        let known: Vec<&str> = targets.iter().map(|target| target.id.as_str()).collect();
        let mut seen: Vec<(&str, [String; 3])> = Vec::new();
        for (w, wave) in waves.iter().enumerate() {
            if wave.is_empty() {
                let path = ["waves", &w.to_string()];
                let diagnostic =
                    self.error(codes::BAD_WAVES, &path, "a wave without targets").help("remove it");
                self.out.push(diagnostic);
            }
            for (t, name) in wave.iter().enumerate() {
                let path = ["waves".to_owned(), w.to_string(), t.to_string()];
                let steps = [path[0].as_str(), &path[1], &path[2]];
                if !known.contains(&name.as_str()) {
                    self.unknown(codes::UNKNOWN_TARGET, "target", name, &steps, &known);
                } else if let Some((_, [a, b, c])) = seen.iter().find(|(other, _)| other == name) {
                    let first = self.place(&[a, b, c]);
                    let diagnostic = self
                        .error(codes::BAD_WAVES, &steps, format!("target `{name}` is in two waves"))
                        .why("it would be deployed twice")
                        .help("remove it from one of them")
                        .related(first, "first listed here");
                    self.out.push(diagnostic);
                } else {
                    seen.push((name, path));
                }
            }
        }
        for name in known.iter().filter(|name| !seen.iter().any(|(other, _)| other == *name)) {
            let diagnostic = self
                .error(codes::BAD_WAVES, &["waves"], format!("no wave holds target `{name}`"))
                .why("it would never be deployed")
                .help(format!("add it: `- [{name}]`, or remove `targets.{name}`"))
                .related(self.key_place(&["targets", name]), "named here");
            self.out.push(diagnostic);
        }
        waves.iter().map(|wave| wave.iter().map(TargetId::new).collect()).collect()
    }

    pub(super) fn backup(&mut self, file: &EnvironmentFile, targets: &[Target]) -> Backup {
        let Some(backup) = &file.backup else { return Backup::default() };
        let known: Vec<&str> = targets.iter().map(|target| target.id.as_str()).collect();
        for (index, rds) in backup.rds.iter().enumerate() {
            if !known.contains(&rds.target.as_str()) {
                let path = ["backup", "rds", &index.to_string(), "target"];
                self.unknown(codes::UNKNOWN_TARGET, "target", &rds.target, &path, &known);
            }
        }
        Backup {
            rds: backup
                .rds
                .iter()
                .map(|rds| RdsBackup { instance: rds.instance.clone(), target: TargetId::new(&rds.target) })
                .collect(),
            rpo: backup.rpo.map(|time| time.0),
            rto: backup.rto.map(|time| time.0),
            s3: backup.s3.clone(),
        }
    }
}

/// On one machine there is nothing to name.
fn local_target(environment: &str) -> Target {
    Target {
        id: TargetId::new(environment),
        cloud: None,
        region: None,
        cluster: ClusterAddress::default(),
        traffic: TrafficClass::Live,
        prometheus: None,
        ingress: None,
        values: Value::Object(Map::new()),
    }
}
