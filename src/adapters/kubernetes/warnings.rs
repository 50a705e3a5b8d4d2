//! What a server warns of beside its answer: `Warning` headers (RFC 7234), as `299 - "text" "date"`, comma-separated.

use http::HeaderMap;
use http::header::WARNING;

/// A persistent warning of whatever sort: the one code that API servers use.
const CODE: &str = "299";
/// Longest text that is kept; servers cut at 256 bytes themselves, what stands in front of them may not.
const LONGEST: usize = 1024;

/// The texts of all warnings, in the server's order.
pub(crate) fn of(headers: &HeaderMap) -> Vec<String> {
    let mut texts = Vec::new();
    for value in headers.get_all(WARNING) {
        let text = String::from_utf8_lossy(value.as_bytes());
        let mut rest = text.as_ref();
        // What follows a mistake cannot be told apart.
        while let Some((warning, after)) = next(rest) {
            texts.extend(warning.filter(|text| !text.is_empty()));
            rest = after;
        }
    }
    texts
}

/// The first warning's text (if it is one for us), and what follows it.
fn next(list: &str) -> Option<(Option<String>, &str)> {
    let list = list.trim_start_matches([' ', '\t', ',']);
    let (code, rest) = list.split_once(' ')?;
    let (_agent, rest) = rest.trim_start().split_once(' ')?;
    let (text, rest) = quoted(rest.trim_start())?;
    let mut rest = rest.trim_start();
    if rest.starts_with('"') {
        let (_date, after) = quoted(rest)?;
        rest = after.trim_start();
    }
    if !rest.is_empty() && !rest.starts_with(',') {
        return None;
    }
    Some(((code == CODE).then(|| plain(&text)), rest))
}

/// A quoted string without its quotes and escapes, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let inside = text.strip_prefix('"')?;
    let mut out = String::new();
    let mut characters = inside.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((out, &inside[at + 1..])),
            '\\' => out.push(characters.next()?.1),
            _ => out.push(character),
        }
    }
    None
}

/// One line that a terminal can be shown.
fn plain(text: &str) -> String {
    let characters = text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c });
    characters.collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn warnings_are_read_as_servers_write_them() {
        let cases: [(&[&str], &[&str]); 13] = [
            (&[], &[]),
            (&[r#"299 - "v1 Endpoints is deprecated""#], &["v1 Endpoints is deprecated"]),
            (&[r#"299 - "one""#, r#"299 - "two""#], &["one", "two"]),
            (&[r#"299 - "one, two", 299 - "three""#], &["one, two", "three"]),
            (&[r#"299 - "one","#, r#", 299 kube "two" ,299 - "three""#], &["one", "two", "three"]),
            (
                &[r#"299 - "would violate \"restricted:latest\": a \\ b""#],
                &[r#"would violate "restricted:latest": a \ b"#],
            ),
            (&[r#"299 - "dated" "Sat, 21 Nov 2026 03:15:46 GMT", 299 - "next""#], &["dated", "next"]),
            (&[r#"199 - "of the moment", 299 - "of ours""#], &["of ours"]),
            (&[r#"299 - """#], &[]),
            (&[r#"299 - "good", 299 - "never closed"#, r#"299 - "other header""#], &["good", "other header"]),
            (
                &[
                    r#"299 - "good", nonsense"#,
                    "299",
                    "299 -",
                    "299 - bare",
                    r#"299 - "x" y"#,
                    r#"299 - "a\"#,
                ],
                &["good"],
            ),
            (&["299 - \"caf\u{e9} \u{9b}31m\""], &["caf\u{e9}  31m"]),
            (&["299 - \"tab\there\""], &["tab here"]),
        ];
        for (values, expected) in cases {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(WARNING, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            assert_eq!(of(&headers), expected, "{values:?}");
        }
        let mut headers = HeaderMap::new();
        headers.append(WARNING, format!("299 - \"{}\"", "x".repeat(5000)).parse().unwrap());
        assert_eq!(of(&headers)[0].len(), LONGEST);
    }
}
