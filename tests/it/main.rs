//! The project's tests: one binary, so that it links once.

mod adapters;
mod apply;
mod architecture;
mod cli;
mod config;
mod plan;
mod ready;
mod report;
mod routers;
mod runs;
mod sim_kube_api;
mod sim_world;
mod support;
