//! The dead-man's switch.

use super::PlaceArgs;
use clap::Args;
use std::path::PathBuf;

/// `guard`.
#[derive(Clone, Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
pub struct GuardArgs {
    /// Where
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Look once, act if needed, and end: exit code 0 if there was nothing to do, 130 if traffic was put on stable
    #[arg(long, conflicts_with_all = ["manifest", "check"])]
    pub once: bool,
    /// Reach the only --target by the service account of the pod that this runs in
    #[arg(long, conflicts_with = "manifest")]
    pub in_cluster: bool,
    /// Print the objects of a guard inside the cluster of the only --target
    #[arg(long)]
    pub manifest: bool,
    /// Write the time into this file every ten seconds
    #[arg(long, value_name = "FILE", conflicts_with_all = ["once", "manifest"])]
    pub heartbeat_file: Option<PathBuf>,
    /// Say whether the guard that writes --heartbeat-file is alive: exit code 0 if so, else 1
    #[arg(long, requires = "heartbeat_file", conflicts_with = "manifest")]
    pub check: bool,
}
