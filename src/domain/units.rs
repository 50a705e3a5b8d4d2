//! Durations and shares as people write them (`1h30m`, `5%`), and their serde forms.

use std::fmt::Write as _;
use std::time::Duration;

/// Writes a duration the way an operator says it: `45s`, `5m`, `1h30m`, `250ms`.
#[must_use]
pub fn human(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis == 0 {
        return "0s".to_owned();
    }
    if millis < 1000 {
        return format!("{millis}ms");
    }
    let seconds = duration.as_secs();
    let parts = [(seconds / 3600, "h"), (seconds % 3600 / 60, "m"), (seconds % 60, "s")];
    parts.iter().filter(|(n, _)| *n > 0).fold(String::new(), |mut text, (n, unit)| {
        let _ = write!(text, "{n}{unit}");
        text
    })
}

/// Reads what [`human`] writes, e.g. `90s`, `1h30m`, `250ms`, `2d`.
///
/// # Errors
/// Says what was expected when the text is no duration.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration; write e.g. `30s`, `5m`, `1h30m`");
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit_len = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let seconds = match &rest[..unit_len] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return Err(wrong()),
        };
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = &rest[unit_len..];
    }
    Ok(total)
}

/// Serde form of a duration: the text of [`human`].
pub mod duration {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    /// Writes the human form.
    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::human(*value))
    }

    /// Reads the human form.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse_duration(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_back_what_they_write() {
        for (text, seconds) in
            [("45s", 45.0), ("5m", 300.0), ("1h30m", 5400.0), ("250ms", 0.25), ("2h", 7200.0), ("1m1s", 61.0)]
        {
            let parsed = parse_duration(text).unwrap();
            assert!((parsed.as_secs_f64() - seconds).abs() < 1e-9, "{text}");
            assert_eq!(human(parsed), text);
        }
        for wrong in ["", "5", "m", "5x", "-5s", "1e999s", "99999999999999999999h"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }
}
