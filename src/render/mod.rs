//! Manifest templates become desired objects: minijinja, strict about what is undefined, each object with the
//! place it came from.
//!
//! Knows configuration's diagnostics and trees, nothing of clusters.

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
use crate::domain::object::Object;

/// What the templates of one target became.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// The objects, in the order of the components and their files.
    pub objects: Vec<Object>,
    /// What is probably not meant.
    pub warnings: Diagnostics,
}

/// Renders and checks all objects of a target at a version. On Compose there are none.
///
/// # Errors
/// Every mistake at once, sorted by place.
pub fn render(environment: &Environment, target: &Target, version: &str) -> Result<Vec<Object>, Diagnostics> {
    render_all(environment, target, version).map(|rendered| rendered.objects)
}

/// Like [`render`], with the warnings.
///
/// # Errors
/// Every mistake at once, sorted by place.
pub fn render_all(
    environment: &Environment,
    target: &Target,
    version: &str,
) -> Result<Rendered, Diagnostics> {
    Renderer::new(&environment.root).render(environment, target, version)
}
