//! Quantities: amounts such as `100m` CPU or `1Gi` memory, compared, added and written in their canonical form.

use crate::domain::kube_schema::is_quantity;

/// Units of a quantity: the suffix and its factor in thousandths of the base unit.
const BINARY: &[(&str, i128)] =
    &[("Ei", 1 << 60), ("Pi", 1 << 50), ("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];
const DECIMAL: &[(&str, i128)] = &[
    ("E", 1_000_000_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1_000),
];

/// The value in billionths, so that `1n` is 1; `None` if the text is no quantity.
#[must_use]
pub fn nanos(text: &str) -> Option<i128> {
    const NANOS: i128 = 1_000_000_000;
    if !is_quantity(text) {
        return None;
    }
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let unit = match suffix {
        "" => NANOS,
        "m" => 1_000_000,
        "u" => 1_000,
        "n" => 1,
        _ => match BINARY.iter().chain(DECIMAL).find(|(name, _)| *name == suffix) {
            Some((_, factor)) => factor * NANOS,
            None => exponent(suffix)? * NANOS,
        },
    };
    let (negative, digits) = match number.as_bytes().first() {
        Some(b'-') => (true, &number[1..]),
        Some(b'+') => (false, &number[1..]),
        _ => (false, number),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut value = whole.checked_mul(unit)?;
    let mut scale = unit;
    for digit in fraction.bytes() {
        scale /= 10;
        value += i128::from(digit - b'0') * scale;
    }
    Some(if negative { -value } else { value })
}

fn exponent(suffix: &str) -> Option<i128> {
    let power: i32 = suffix.get(1..)?.parse().ok()?;
    (0..=18).contains(&power).then(|| 10_i128.pow(power as u32))
}

/// The value in thousandths: millicores of a CPU; rounded up.
#[must_use]
pub fn millis(text: &str) -> Option<i64> {
    let nanos = nanos(text)?;
    i64::try_from(nanos.div_euclid(1_000_000) + i128::from(nanos.rem_euclid(1_000_000) != 0)).ok()
}

/// The canonical spelling: the largest suffix of the same family that leaves a whole number.
#[must_use]
pub fn canonical(text: &str) -> Option<String> {
    let value = nanos(text)?;
    if value == 0 {
        return Some("0".to_owned());
    }
    let binary = text.ends_with('i');
    if binary && value % 1_000_000_000 == 0 {
        let whole = value / 1_000_000_000;
        let unit = BINARY.iter().find(|(_, factor)| whole % factor == 0 && whole.abs() >= *factor);
        return Some(
            unit.map_or_else(|| whole.to_string(), |(name, factor)| format!("{}{name}", whole / factor)),
        );
    }
    Some(decimal(value))
}

/// A number of billionths in decimal notation.
#[must_use]
pub fn decimal(nanos: i128) -> String {
    if nanos % 1_000_000_000 == 0 {
        let whole = nanos / 1_000_000_000;
        let unit = DECIMAL.iter().find(|(_, factor)| whole != 0 && whole % factor == 0);
        return unit.map_or_else(|| whole.to_string(), |(name, factor)| format!("{}{name}", whole / factor));
    }
    for (name, factor) in [("m", 1_000_000), ("u", 1_000)] {
        if nanos % factor == 0 {
            return format!("{}{name}", nanos / factor);
        }
    }
    format!("{nanos}n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_written_canonically() {
        for (given, wanted) in [
            ("0.5", "500m"),
            ("1000m", "1"),
            ("1024Mi", "1Gi"),
            ("1500Mi", "1500Mi"),
            ("1.5Gi", "1536Mi"),
            ("1e3", "1k"),
            ("0", "0"),
            ("100m", "100m"),
            ("9999", "9999"),
        ] {
            assert_eq!(canonical(given).as_deref(), Some(wanted), "{given}");
        }
        assert_eq!(millis("0.25"), Some(250));
    }
}
