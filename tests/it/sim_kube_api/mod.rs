//! The simulated Kubernetes API, held against answers recorded from kube-apiserver v1.36.2, and used through the
//! real client.

mod client;
mod openapi;
mod ownership;
mod replay;
mod replay_cases;
mod support;
