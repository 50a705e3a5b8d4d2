//! Fields of a JSON object by name, each mistake with the name of its field. Values stay text until they are asked for.

use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The fields of one object.
pub struct Fields<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Fields<'a> {
    pub fn of(raw: &'a RawValue) -> Result<Self, String> {
        serde_json::from_str(raw.get()).map(Self).map_err(|_| format!("is no object: {}", excerpt(raw)))
    }

    /// A field's text; a field that is `null` is absent.
    pub fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.0.get(name).copied().filter(|raw| raw.get() != "null")
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, raw)| (name.as_str(), *raw))
    }

    pub fn object(&self, name: &str) -> Result<Option<Self>, String> {
        self.raw(name).map(|raw| Self::of(raw).map_err(|why| format!("{name} {why}"))).transpose()
    }

    pub fn text(&self, name: &str) -> Result<Option<String>, String> {
        let text = |raw: &RawValue| {
            serde_json::from_str(raw.get()).map_err(|_| format!("{name} is no text: {}", excerpt(raw)))
        };
        self.raw(name).map(text).transpose()
    }

    pub fn number(&self, name: &str) -> Result<Option<f64>, String> {
        self.raw(name).map(|raw| number(raw).map_err(|why| format!("{name} {why}"))).transpose()
    }

    pub fn wanted(&self, name: &str) -> Result<f64, String> {
        self.number(name)?.ok_or_else(|| format!("{name} is missing"))
    }

    /// A number that must not be negative.
    pub fn count(&self, name: &str) -> Result<Option<f64>, String> {
        match self.number(name)? {
            Some(value) if value < 0.0 => Err(format!("{name} is negative: {value}")),
            value => Ok(value),
        }
    }

    pub fn list(&self, name: &str) -> Result<Option<Vec<&'a RawValue>>, String> {
        self.raw(name).map(|raw| list(raw).map_err(|why| format!("{name} {why}"))).transpose()
    }

    pub fn numbers(&self, name: &str) -> Result<Option<Vec<f64>>, String> {
        let Some(list) = self.list(name)? else { return Ok(None) };
        let numbers = list.into_iter().enumerate();
        numbers
            .map(|(index, raw)| number(raw).map_err(|why| format!("{name}[{index}] {why}")))
            .collect::<Result<_, _>>()
            .map(Some)
    }
}

pub fn list(raw: &RawValue) -> Result<Vec<&RawValue>, String> {
    serde_json::from_str(raw.get()).map_err(|_| format!("is no list: {}", excerpt(raw)))
}

pub fn number(raw: &RawValue) -> Result<f64, String> {
    let said = |_| format!("is no number that fits: {}", excerpt(raw));
    let value: f64 = serde_json::from_str(raw.get()).map_err(said)?;
    if value.is_finite() { Ok(value) } else { Err(format!("is no finite number: {}", excerpt(raw))) }
}

/// The first characters of a value, for people.
fn excerpt(raw: &RawValue) -> String {
    let text = raw.get();
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
