//! Targets that give no answer when a release begins.

/// What a release does about a target that gives no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unreachable {
    /// Nothing goes out unless somebody leaves the target out by name.
    #[default]
    Block,
    /// It is left out, and owed the release.
    Skip,
}
