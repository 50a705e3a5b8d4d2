//! The dead-man's switch.

use super::Cx;
use crate::config::codes;
use crate::config::model::{EnvironmentFile, GuardFile, GuardName};
use crate::domain::environment::is_pinned;
use crate::domain::guard::Guard;

impl Cx<'_> {
    pub(super) fn guard(&mut self, file: &EnvironmentFile, compose: bool) -> Option<Guard> {
        let guard = match file.guard.as_ref()? {
            GuardFile::Switch(false) => return None,
            GuardFile::Switch(true) => Guard::default(),
            GuardFile::Named(GuardName::Required) => Guard { required: true, ..Guard::default() },
            GuardFile::Detailed(detail) => Guard {
                after: detail.after.map(|time| time.0).unwrap_or_default(),
                required: detail.required.unwrap_or(false),
                image: detail.image.clone(),
            },
        };
        if compose {
            let diagnostic = self
                .error(codes::CONFLICT, &["guard"], "a guard needs a cluster")
                .why("the locks and journals that it watches live in Kubernetes clusters")
                .help("remove `guard`");
            self.out.push(diagnostic);
        }
        if let Some(image) = guard.image.as_ref().filter(|image| !is_pinned(image)) {
            let message = format!("`{image}` names no version");
            let diagnostic = self
                .error(codes::OUT_OF_RANGE, &["guard", "image"], message)
                .why("the tag `latest` would change the guard whenever its pod starts anew")
                .help(format!("write a tag or a digest: `{image}:1.0.0`"));
            self.out.push(diagnostic);
        }
        Some(guard)
    }
}
