//! `deployctl metrics`.

use clap::Args;

/// `metrics`.
#[derive(Clone, Debug, Args)]
pub struct MetricsArgs {
    /// Environment whose gates are asked, once, of what serves now
    #[arg(value_name = "ENV", required_unless_present = "replay")]
    pub env: Option<String>,
    /// Only this target (repeat for more)
    #[arg(short, long = "target", value_name = "TARGET", requires = "env")]
    pub targets: Vec<String>,
    /// With ENV: what the gates saw of this revision, judged by the gates as they are now. Without: recorded blocks or raw
    /// samples (JSON); - reads standard input
    #[arg(long, value_name = "REV|FILE")]
    pub replay: Option<String>,
    /// By the gates as they were when the revision was released
    #[arg(long, requires = "replay", requires = "env")]
    pub as_recorded: bool,
    /// Fail at what comes out otherwise than the file expects, or than it did then
    #[arg(long, requires = "replay")]
    pub check: bool,
}
