//! The project's tests: one binary, so that it links once.

mod adapters;
mod apply;
mod architecture;
mod cli;
mod compared;
mod config;
mod control;
mod gates;
mod guard;
mod plan;
mod preflight;
mod ready;
mod report;
mod routers;
mod runs;
mod served;
mod sim_kube_api;
mod sim_world;
mod support;
