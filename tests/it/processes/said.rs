//! What processes say, less what differs from run to run, compared with what was approved. `UPDATE_GOLDEN=1` writes that.

use regex::Regex;
use std::path::Path;
use std::sync::LazyLock;

/// Patterns and what stands for them: run numbers, times of day, addresses, machines, how long something took.
static DIFFERENT: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let patterns = [
        (r"(r\d{6})-\d{8}t\d{6}z", "$1-TIME"),
        (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
        (r"\d\d:\d\d:\d\dZ?", "TIME"),
        (r"127\.0\.0\.1:\d+", "ADDRESS"),
        (r"\b(ana|bo)@[\w.-]+", "$1@HOST"),
        (r"\(host [\w.-]+\)", "(host HOST)"),
        (
            r"(since TIME,|lapses in|lapsed|held by ana@HOST for|left behind by ana@HOST for|back after|stopped after|in) \d+(m\d+s|ms|s|m|h\d+m|h)",
            "$1 LONG",
        ),
        (r"\d+(m\d+s|s|m) ago", "LONG ago"),
        (r"(TIME) +\d+(m\d+s|s|m) +", "$1  LONG  "),
        (r"\d+ of 50 answers came", "N of 50 answers came"),
        (r"(\S) {2,}", "$1  "),
    ];
    patterns.map(|(pattern, with)| (Regex::new(pattern).unwrap(), with)).into()
});

/// A text as it would be on any machine at any time.
pub fn timeless(text: &str) -> String {
    DIFFERENT
        .iter()
        .fold(text.to_owned(), |text, (pattern, with)| pattern.replace_all(&text, *with).into_owned())
}

/// Compares a whole output with the approved one of this name.
pub fn approved(name: &str, text: &str) {
    let text = timeless(text);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/processes").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let approved = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(approved == text, "{name} differs; it is now:\n{text}\nand was:\n{approved}");
}

/// The last paragraph of an output: how a run ended.
pub fn ending(text: &str) -> String {
    text.trim_end().split("\n\n").last().map(|text| format!("{text}\n")).unwrap_or_default()
}
