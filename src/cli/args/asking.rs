//! What is asked of a run that goes on elsewhere.

use clap::Args;

/// Of whom it is asked, and why.
#[derive(Clone, Debug, Args)]
pub struct AskArgs {
    /// Environment: `environments/ENV.yaml`
    #[arg(value_name = "ENV")]
    pub env: String,
    /// Only the run of this target (repeat for more)
    #[arg(short, long = "target", value_name = "TARGET")]
    pub targets: Vec<String>,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// `promote`.
#[derive(Clone, Debug, Args)]
pub struct PromoteArgs {
    /// Of whom, and why
    #[command(flatten)]
    pub ask: AskArgs,
    /// Go on to the end without holding again; approvals and smoke tests stay
    #[arg(long)]
    pub full: bool,
}

/// `abort`.
#[derive(Clone, Debug, Args)]
pub struct AbortArgs {
    /// Of whom, and why
    #[command(flatten)]
    pub ask: AskArgs,
    /// Do not wait until everything is back
    #[arg(long)]
    pub no_wait: bool,
}
