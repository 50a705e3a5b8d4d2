//! What talks to the outside: each folder implements one port against one real service.

pub mod aws;
pub mod clock;
pub mod cloudwatch;
mod errors;
pub mod http;
pub mod http_metrics;
pub mod kubernetes;
pub mod prometheus;
mod reveal;
pub mod secrets;
pub mod stores;
mod templates;
mod tls;
mod web;
