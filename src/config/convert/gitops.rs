//! What a run does about those who write its objects from Git.

use super::Cx;
use crate::config::model::{EnvironmentFile, GitopsDetail, GitopsFile, GitopsName};
use crate::domain::gitops::{Gitops, GitopsMode};

impl Cx<'_> {
    pub(super) fn gitops(&mut self, file: &EnvironmentFile) -> Gitops {
        let detail = match &file.gitops {
            None => return Gitops::default(),
            Some(GitopsFile::Named(name)) => GitopsDetail { mode: Some(*name), argocd_namespace: None },
            Some(GitopsFile::Detailed(detail)) => detail.clone(),
        };
        let default = Gitops::default();
        let mode = match detail.mode {
            Some(GitopsName::Refuse) => GitopsMode::Refuse,
            Some(GitopsName::Ignore) => GitopsMode::Ignore,
            Some(GitopsName::Pause) | None => GitopsMode::Pause,
        };
        if let Some(namespace) = &detail.argocd_namespace {
            self.check_name(namespace, &["gitops", "argocd_namespace"]);
        }
        Gitops { mode, argocd_namespace: detail.argocd_namespace.unwrap_or(default.argocd_namespace) }
    }
}
