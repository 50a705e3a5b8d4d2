//! Secrets never leak: canaries stand wherever a secret can be, whole runs go well and badly around them, and all that was
//! told, written and left behind is searched for every form of them.
//!
//! The one place for a value is the Secret that the application reads. The state namespace is Secrets, too, and holds the
//! objects of a release so that it can be brought back: what a *manifest* holds in the open is in those records, and nowhere
//! else in them; what the environment refers to is not even there.

mod commands;
mod forms;
mod runs;
