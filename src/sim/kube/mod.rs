//! An in-process Kubernetes API server: objects in a [`store::Store`], answers as kube-apiserver v1.36 gives them.
//!
//! The real Kubernetes client runs against it unmodified, in virtual time.

pub mod delete;
pub mod errors;
pub mod kinds;
pub mod store;
pub mod write;
