//! Scalars with units, as people write them, each with its own JSON Schema.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::time::Duration;

/// Key in the schema that tells the checker which unit a scalar has.
pub const UNIT: &str = "x-unit";

/// A duration with its unit: `200ms`, `30s`, `5m`, `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Duration);

/// A share: `5%`, `99.95%`; a bare number counts as percent too.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percent(pub f64);

/// A version: `1.4.0`; kept as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(pub String);

/// The limit of a gate, in the unit of what it measures: `5%`, `200ms`, `3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit(pub String);

/// A reference to a secret, `${env:NAME}`; whatever else was written there is never kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretText(pub String);

/// Reads a share, in percent.
///
/// # Errors
/// Says what was expected.
pub fn parse_percent(text: &str) -> Result<f64, String> {
    let number = text.trim().strip_suffix('%').unwrap_or(text.trim()).trim_end();
    match number.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err(format!("`{text}` is not a share; write e.g. `5%` or `99.95%`")),
    }
}

macro_rules! text_scalar {
    ($name:ident, $read:expr, $schema:tt) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                let read: fn(&str) -> Result<Self, String> = $read;
                read(&text).map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

text_scalar!(Time, |text| crate::domain::units::parse_duration(text).map(Self), {
    "type": "string",
    "pattern": "^([0-9]+(\\.[0-9]+)?(ms|s|m|h|d))+$",
    "x-unit": "duration",
});
text_scalar!(Percent, |text| parse_percent(text).map(Self), {
    "type": ["string", "number"],
    "pattern": "^[0-9]+(\\.[0-9]+)? ?%?$",
    "x-unit": "percent",
});
text_scalar!(Version, |text| Ok(Self(text.to_owned())), {
    "type": ["string", "number"],
    "x-unit": "text",
});
text_scalar!(Limit, |text| Ok(Self(text.to_owned())), {
    "type": ["string", "number"],
    "x-unit": "limit",
});
text_scalar!(SecretText, |text| Ok(Self(text.to_owned())), {
    "type": "string",
    "pattern": "^\\$\\{(env|file|aws-sm):[^}]+\\}$",
    "x-unit": "secret",
    "examples": ["${env:DB_PASSWORD}", "${file:/run/secrets/token}", "${aws-sm:prod/db#password}"],
});
