//! The project's tests: one binary, so that it links once.

mod adapters;
mod config;
mod report;
mod sim_kube_api;
mod sim_world;
