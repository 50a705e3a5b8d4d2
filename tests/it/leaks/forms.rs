//! Canaries, the forms that they can take, and the search.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use std::fmt::Write as _;

/// Values as people choose them: with what JSON, URLs and YAML escape.
pub const FROM_ENV: &str = "Can4ry\"env/q8 Zt+1";
pub const FROM_FILE: &str = "can4ry-file-W3xv&9=k";
pub const IN_MANIFEST: &str = "can4ry-manifest-pL5%r";
pub const IN_DATA: &str = "can4ry-data-77Hs?d";
pub const IN_PULL: &str = "can4ry-pull-Qm2$x";
pub const IN_URL: &str = "can4ry-url-b6Yj";
pub const LIVE: &str = "can4ry-live-other-N0";

/// What the environment refers to.
pub const REFERRED: [&str; 2] = [FROM_ENV, FROM_FILE];
/// What stands in a manifest.
pub const OPEN: [&str; 3] = [IN_MANIFEST, IN_DATA, IN_PULL];

/// Every form in which a canary is one.
pub fn forms(canary: &str) -> Vec<String> {
    let json = serde_json::Value::from(canary).to_string();
    let url = canary.bytes().fold(String::new(), |mut url, byte| {
        let plain = byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        let _ = if plain { write!(url, "{}", char::from(byte)) } else { write!(url, "%{byte:02X}") };
        url
    });
    let twice = serde_json::Value::from(&json[1..json.len() - 1]).to_string();
    // In base64 of a longer text the canary begins at any of three places, and its ends depend on what is beside it.
    let inside = (0..3).map(|shift| {
        let text = STANDARD.encode(format!("{}{canary}", "\0".repeat(shift)));
        text[4 * usize::from(shift > 0)..text.len() - 4].to_owned()
    });
    let mut forms = vec![
        canary.to_owned(),
        json[1..json.len() - 1].to_owned(),
        twice[1..twice.len() - 1].to_owned(),
        url,
        URL_SAFE_NO_PAD.encode(canary),
        STANDARD.encode(STANDARD.encode(canary)),
    ];
    forms.extend(inside);
    forms
}

/// The canaries that a text holds, each with what is around it.
pub fn found(text: &str, canaries: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for canary in canaries {
        for form in forms(canary) {
            if let Some(at) = text.find(&form) {
                let from = text[..at].char_indices().rev().nth(120).map_or(0, |(at, _)| at);
                let around: String = text[from..].chars().take(260).collect();
                found.push(format!("{canary} as {form}: …{around}…"));
            }
        }
    }
    found
}

/// Fails if a text holds a canary.
#[track_caller]
pub fn clean(place: &str, text: &str, canaries: &[&str]) {
    let found = found(text, canaries);
    assert!(found.is_empty(), "{place} leaks:\n{}", found.join("\n"));
}

#[test]
fn a_leak_that_is_planted_is_found_in_every_form() {
    for canary in REFERRED.iter().chain(&OPEN) {
        for planted in [
            format!("password is {canary}."),
            serde_json::json!({ "a": [format!("x{canary}y")] }).to_string(),
            serde_json::json!({ "log": serde_json::json!({ "a": canary }).to_string() }).to_string(),
            format!("http://x/?p={}", forms(canary)[3]),
            STANDARD.encode(format!("user:{canary}@host")),
            STANDARD.encode(format!("u:{canary}")),
            STANDARD.encode(canary),
            STANDARD.encode(STANDARD.encode(canary)),
        ] {
            assert!(!found(&planted, &[*canary]).is_empty(), "{planted}");
        }
        assert!(found("nothing to see here", &[*canary]).is_empty());
    }
}
