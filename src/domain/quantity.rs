//! Amounts of resources (`100m` of CPU, `1Gi` of memory), as far as adding and comparing them needs.

use super::kube_schema::is_quantity;

const UNITS: &[(&str, f64)] = &[
    ("Ei", 1_152_921_504_606_846_976.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ti", 1_099_511_627_776.0),
    ("Gi", 1_073_741_824.0),
    ("Mi", 1_048_576.0),
    ("Ki", 1024.0),
    ("E", 1e18),
    ("P", 1e15),
    ("T", 1e12),
    ("G", 1e9),
    ("M", 1e6),
    ("k", 1e3),
    ("m", 1e-3),
    ("u", 1e-6),
    ("n", 1e-9),
];

/// The amount as a number; `None` if the text is no amount.
#[must_use]
pub fn number(text: &str) -> Option<f64> {
    if !is_quantity(text) {
        return None;
    }
    // `1e3` is a number as Rust reads it, too.
    let (number, factor) = UNITS
        .iter()
        .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)))
        .unwrap_or((text, 1.0));
    let amount: f64 = number.parse().ok()?;
    Some(amount * factor)
}

/// The amount in thousandths of the resource's unit, rounded up; `None` if the text is no amount, or less than nothing.
#[must_use]
pub fn thousandths(text: &str) -> Option<u64> {
    let amount = number(text).filter(|_| !text.starts_with('-'))?;
    // A float's error must not make 1001 of 1000.
    Some((amount * 1000.0 - 1e-6).ceil() as u64)
}

/// The amount as people write it for this resource: `250m`, `1.5` of CPU, `512Mi` of memory.
#[must_use]
pub fn show(resource: &str, thousandths: u64) -> String {
    let bytes = matches!(resource, "memory" | "ephemeral-storage") || resource.starts_with("hugepages-");
    if bytes {
        let bytes = thousandths as f64 / 1000.0;
        let (suffix, factor) =
            UNITS[..6].iter().find(|(_, factor)| bytes >= *factor).copied().unwrap_or(("", 1.0));
        return format!("{}{suffix}", trimmed(bytes / factor));
    }
    if thousandths < 1000 { format!("{thousandths}m") } else { trimmed(thousandths as f64 / 1000.0) }
}

fn trimmed(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_and_written() {
        let cases = [
            ("100m", Some(100)),
            ("2", Some(2000)),
            ("1.5", Some(1500)),
            ("1e3", Some(1_000_000)),
            ("1Ki", Some(1_024_000)),
            ("1G", Some(1_000_000_000_000)),
            ("250u", Some(1)),
            ("-1", None),
            ("many", None),
        ];
        for (text, expected) in cases {
            assert_eq!(thousandths(text), expected, "{text}");
        }
        assert_eq!(show("cpu", 250), "250m");
        assert_eq!(show("cpu", 1500), "1.5");
        assert_eq!(show("memory", thousandths("512Mi").unwrap()), "512Mi");
        assert_eq!(show("pods", 2000), "2");
    }
}
