//! The project's tests: one binary, so that it links once.

mod absent;
mod adapters;
mod apply;
mod architecture;
mod capacity;
mod cli;
mod compared;
mod config;
mod control;
mod dynamic;
mod evidence;
mod gates;
mod plan;
mod power;
mod preflight;
mod ready;
mod report;
mod routers;
mod runs;
mod served;
mod sim_kube_api;
mod sim_world;
mod stores;
mod support;
mod tampered;
