//! Manifest templates become desired objects: minijinja, strict about what is undefined, each object with the
//! place it came from.
//!
//! Knows configuration's diagnostics and trees, nothing of clusters.

mod bounded;
pub mod check;
mod context;
mod decorate;
mod document;
mod linemap;
mod sources;
mod template;
pub mod validate;

pub use document::Document;
pub use sources::Renderer;
pub use validate::{Validation, validate};

use crate::domain::diagnostic::Diagnostics;
use crate::domain::environment::{Environment, Target};
use crate::domain::ids::TargetId;
use crate::domain::object::Object;
use std::collections::BTreeMap;

/// What the templates of one target became.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// The objects, in the order of the components and their files.
    pub objects: Vec<Object>,
    /// What is probably not meant.
    pub warnings: Diagnostics,
}

/// Renders and checks all objects of every target at a version; each template is read once. On Compose there are none.
///
/// # Errors
/// Every mistake of the first target that has any, sorted by place.
pub fn render_targets(
    environment: &Environment,
    version: &str,
) -> Result<BTreeMap<TargetId, Vec<Object>>, Diagnostics> {
    let mut renderer = Renderer::new(&environment.root);
    let mut render = |target: &Target| {
        let objects = renderer.render(environment, target, version)?.objects;
        Ok((target.id.clone(), objects))
    };
    environment.targets.iter().map(&mut render).collect()
}
