//! What a simulated process does, read from its image's tag or its variable `FAULT`.
//!
//! Words: `missing`, `noconfig`, `crash`, `unready`, `slowstart<SECONDS>`, `err<PERCENT>`, `lat<MILLISECONDS>`,
//! `late<SECONDS>` (errors and latency begin so long after the start), `fail` (a job's pod), `smokefail`. Anything
//! else is healthy. The same words mean the same on the rig that runs against a real control plane.

/// How a process behaves.
#[allow(clippy::struct_excessive_bools)] // each is a word of its own; any set of them may be true
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Behaviour {
    /// The image cannot be pulled.
    pub missing: bool,
    /// The container cannot be made: its Secret lacks a key.
    pub no_config: bool,
    /// The process ends soon after its start.
    pub crash: bool,
    /// The process never becomes ready.
    pub unready: bool,
    /// Seconds until the process is ready, if it is slower than others.
    pub slow_start: Option<f64>,
    /// Share of requests that answer 500, 0–1.
    pub error_share: f64,
    /// Seconds added to every request.
    pub added_latency: f64,
    /// Seconds after the start from which errors and latency show.
    pub late: f64,
    /// A job's process ends with code 1.
    pub fail: bool,
    /// `/health` answers 503 although traffic is served well.
    pub smoke_fail: bool,
    /// Seconds after which the process ends with code 1.
    pub crash_after: Option<f64>,
    /// The registry gives no images that the node does not have.
    pub registry_down: bool,
    /// A job's process never ends.
    pub hang: bool,
}

impl Behaviour {
    /// Reads the words.
    #[must_use]
    pub fn parse(words: &str) -> Self {
        let has = |word: &str| words.contains(word);
        Self {
            missing: has("missing"),
            no_config: has("noconfig"),
            crash: has("crash"),
            unready: has("unready"),
            slow_start: number_after(words, "slowstart"),
            error_share: number_after(words, "err").map_or(0.0, |percent| (percent / 100.0).clamp(0.0, 1.0)),
            added_latency: number_after(words, "lat").unwrap_or(0.0) / 1000.0,
            late: number_after(words, "late").unwrap_or(0.0),
            smoke_fail: has("smokefail"),
            fail: has("fail") && !has("smokefail"),
            crash_after: None,
            registry_down: false,
            hang: false,
        }
    }
}

/// The number that directly follows `word`, at its first occurrence that has one.
fn number_after(words: &str, word: &str) -> Option<f64> {
    words.match_indices(word).find_map(|(at, _)| {
        let rest = &words[at + word.len()..];
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        rest[..end].parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_tag_are_understood() {
        let late = Behaviour::parse("v2-late60err12.5");
        assert!((late.late - 60.0).abs() < 1e-9 && (late.error_share - 0.125).abs() < 1e-9);
        assert!(late.added_latency.abs() < 1e-9, "`late60` is no latency");
        assert!((Behaviour::parse("lat250").added_latency - 0.25).abs() < 1e-9);
        assert_eq!(Behaviour::parse("slowstart30").slow_start, Some(30.0));
        assert!(Behaviour::parse("fail").fail);
        let smoke = Behaviour::parse("smokefail");
        assert!(smoke.smoke_fail && !smoke.fail);
        assert_eq!(Behaviour::parse("v1.4.2"), Behaviour::default());
    }
}
