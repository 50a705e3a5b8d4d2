//! An in-process Kubernetes API server: objects in a [`store::Store`], answers as kube-apiserver v1.36 gives them.
//!
//! The real Kubernetes client runs against it unmodified, in virtual time: give an [`ApiService`] to
//! `kube::Client::new`. The world around it is a [`host::Host`].

pub mod admission;
pub mod api;
pub mod controllers;
pub mod crd;
pub mod decode;
pub mod defaults;
pub mod delete;
pub mod discovery;
pub mod errors;
pub mod fields;
pub mod handlers;
pub mod host;
pub mod kinds;
pub mod managed;
mod openapi;
pub mod patch;
pub mod prepare;
pub mod quantity;
pub mod request;
pub mod reviews;
pub mod selectors;
pub mod shape;
pub mod store;
mod stored;
pub mod subresources;
pub mod table;
pub mod typed;
pub mod validate;
mod validate_pod;
pub mod view;
pub mod watch;
pub mod write;

pub use api::ApiService;
