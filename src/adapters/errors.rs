//! Errors of libraries as one line of text.

use std::error::Error;

/// An error and what caused it, in order.
pub(crate) fn causes<'e>(
    error: &'e (dyn Error + 'static),
) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}

/// An error and its causes in one line, each told once: many errors repeat their cause.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut out = String::new();
    for cause in causes(error) {
        let text = cause.to_string();
        if !out.contains(&text) {
            out = if out.is_empty() { text } else { format!("{out}: {text}") };
        }
    }
    out
}
