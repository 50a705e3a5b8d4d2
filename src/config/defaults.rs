//! What holds when an environment says nothing: one place for the schema and for the conversion.

/// Kubernetes version that manifests are checked against.
pub const CLUSTER_VERSION: &str = "1.36";
/// Time between two waves.
pub const BAKE: &str = "10m";
/// Hold after a blue-green switch.
pub const BLUE_GREEN_HOLD: &str = "5m";
/// How long green is reachable before the switch.
pub const PREVIEW: &str = "0s";
/// How long blue keeps its size once all waves are done.
pub const SCALE_DOWN_AFTER: &str = "0s";
/// Steps of a canary that names none.
pub const CANARY_STEPS: [(u8, &str); 3] = [(10, "5m"), (25, "15m"), (50, "30m")];
/// What a profile says: canary steps, bake after the first wave, bake after later ones, length of a run.
pub struct Profile {
    /// As in `profile:`.
    pub name: &'static str,
    /// Weight in percent, and hold.
    pub steps: &'static [(u8, &'static str)],
    /// After the first wave, where a bad release should be found.
    pub first_bake: &'static str,
    /// After each later wave but the last.
    pub later_bake: &'static str,
    /// `limits.run`.
    pub run: &'static str,
}

/// Requests that a bake asks for under a profile.
pub const PROFILE_REQUESTS: u64 = 100;
/// `profile: fast`.
pub const FAST: Profile = Profile {
    name: "fast",
    steps: &[(10, "10m"), (50, "10m")],
    first_bake: "30m",
    later_bake: "10m",
    run: "6h",
};
/// `profile: standard`.
pub const STANDARD: Profile = Profile {
    name: "standard",
    steps: &[(10, "1h"), (33, "30m")],
    first_bake: "4h",
    later_bake: "1h",
    run: "24h",
};
/// `profile: careful`: an hour in one small share, twelve after the first wave, two after later ones.
pub const CAREFUL: Profile = Profile {
    name: "careful",
    steps: &[(5, "1h"), (10, "1h"), (33, "1h")],
    first_bake: "12h",
    later_bake: "2h",
    run: "72h",
};
/// How far back a gate looks.
pub const WINDOW: &str = "1m";
/// Time between two measurements.
pub const INTERVAL: &str = "15s";
/// Consecutive breaches that end a run.
pub const BREACHES: u32 = 2;
/// Fewest requests for a verdict.
pub const MIN_REQUESTS: u64 = 20;
/// Attempts of a smoke test.
pub const ATTEMPTS: u32 = 3;
/// Longest wait for one answer of a smoke test.
pub const SMOKE_TIMEOUT: &str = "5s";
/// Wait between attempts of a smoke test.
pub const RETRY_DELAY: &str = "2s";
/// For pods to become ready.
pub const READY: &str = "5m";
/// For a whole run.
pub const RUN: &str = "4h";
/// For a backup.
pub const BACKUP: &str = "1h";
/// How long a breach that stable shares may hold a run.
pub const SHARED_BREACH: &str = "30m";
/// Lifetime of the lock.
pub const LEASE: &str = "60s";
/// The shortest lifetime of the lock, in seconds: a write may take ten, and must end while the lock is held.
pub const SHORTEST_LEASE: u64 = 15;
/// Releases kept.
pub const HISTORY: u32 = 10;
/// Namespace of leases, journals and releases.
pub const STATE_NAMESPACE: &str = "deployctl-state";

/// Failed requests / requests.
pub const QUERY_ERROR_RATE: &str = r#"(sum(rate(http_requests_total{namespace="{{ namespace }}",pod=~"{{ pods }}",status=~"5.."}[{{ window }}])) or vector(0)) / sum(rate(http_requests_total{namespace="{{ namespace }}",pod=~"{{ pods }}"}[{{ window }}]))"#;
/// 1 − error rate.
pub const QUERY_AVAILABILITY: &str = r#"1 - (sum(rate(http_requests_total{namespace="{{ namespace }}",pod=~"{{ pods }}",status=~"5.."}[{{ window }}])) or vector(0)) / sum(rate(http_requests_total{namespace="{{ namespace }}",pod=~"{{ pods }}"}[{{ window }}]))"#;
/// A latency quantile in seconds.
pub const QUERY_LATENCY: &str = r#"histogram_quantile({{ quantile }}, sum by (le) (rate(http_request_duration_seconds_bucket{namespace="{{ namespace }}",pod=~"{{ pods }}"}[{{ window }}])))"#;
/// Requests in the window.
pub const QUERY_REQUESTS: &str =
    r#"sum(increase(http_requests_total{namespace="{{ namespace }}",pod=~"{{ pods }}"}[{{ window }}]))"#;

/// All requests, for a comparison with stable.
pub const COUNTER_REQUESTS: &str = "http_requests_total";
/// The failed ones among them.
pub const COUNTER_ERRORS: &str = r#"http_requests_total{status=~"5.."}"#;
/// The histogram of their durations.
pub const COUNTER_LATENCY: &str = "http_request_duration_seconds";
