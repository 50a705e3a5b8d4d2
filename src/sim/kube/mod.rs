//! An in-process Kubernetes API server: objects in a [`store::Store`], answers as kube-apiserver v1.36 gives them.
//!
//! The real Kubernetes client runs against it unmodified, in virtual time.

pub mod admission;
pub mod crd;
pub mod defaults;
pub mod delete;
pub mod errors;
pub mod fields;
pub mod kinds;
pub mod managed;
pub mod prepare;
pub mod quantity;
pub mod selectors;
pub mod shape;
pub mod store;
pub mod typed;
pub mod validate;
mod validate_pod;
pub mod write;
