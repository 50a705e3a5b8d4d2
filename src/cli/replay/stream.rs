//! Reads a file one vector at a time: only the vector at hand is in memory.

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use std::io::Read;

/// Takes the parts of a file as they come.
pub trait Visit {
    /// A top-level field other than `vectors`.
    fn setting(&mut self, name: &str, value: &RawValue) -> Result<(), Stop>;
    /// One of `vectors`.
    fn vector(&mut self, index: usize, value: &RawValue) -> Result<(), Stop>;
}

/// Why reading ends before the end.
#[derive(Debug)]
pub enum Stop {
    /// A mistake in the file.
    Wrong(String),
    /// Nobody reads what is printed.
    Closed,
}

/// Reads a whole file.
pub fn read(from: impl Read, visit: &mut dyn Visit) -> Result<(), Stop> {
    let mut file = serde_json::Deserializer::from_reader(from);
    let mut stopped = None;
    let mut vectors = None;
    let read = Top { visit, stopped: &mut stopped, vectors: &mut vectors }.deserialize(&mut file);
    if let Some(stop) = stopped {
        return Err(stop);
    }
    read.and_then(|()| file.end()).map_err(|error| match vectors {
        Some(index) => Stop::Wrong(format!("vectors[{index}] is no JSON: {error}")),
        None => Stop::Wrong(format!("it is no JSON object with `vectors`: {error}")),
    })?;
    vectors.map(|_| ()).ok_or_else(|| Stop::Wrong("`vectors` is missing".to_owned()))
}

struct Top<'a> {
    visit: &'a mut dyn Visit,
    /// Our own reason to stop, which a serde error cannot carry.
    stopped: &'a mut Option<Stop>,
    /// How many vectors came; `None` before the list began.
    vectors: &'a mut Option<usize>,
}

impl<'de> DeserializeSeed<'de> for Top<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Top<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(name) = map.next_key::<String>()? {
            if name == "vectors" {
                self.vectors.get_or_insert(0);
                let each = Each { visit: &mut *self.visit, stopped: self.stopped, vectors: self.vectors };
                map.next_value_seed(each)?;
                continue;
            }
            if self.vectors.is_some() {
                // what the vectors were judged by cannot change behind them
                if ["params", "thresholds", "tolerance"].contains(&name.as_str()) {
                    *self.stopped = Some(Stop::Wrong(format!("`{name}` must stand before `vectors`")));
                    return Err(M::Error::custom("stopped"));
                }
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value: Box<RawValue> = map.next_value()?;
            if let Err(stop) = self.visit.setting(&name, &value) {
                *self.stopped = Some(stop);
                return Err(M::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

/// The list of vectors, one after another.
struct Each<'a> {
    visit: &'a mut dyn Visit,
    stopped: &'a mut Option<Stop>,
    vectors: &'a mut Option<usize>,
}

impl<'de> DeserializeSeed<'de> for Each<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Each<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`vectors` as a list")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<(), S::Error> {
        while let Some(value) = list.next_element::<Box<RawValue>>()? {
            let index = self.vectors.unwrap_or_default();
            if let Err(stop) = self.visit.vector(index, &value) {
                *self.stopped = Some(stop);
                return Err(S::Error::custom("stopped"));
            }
            *self.vectors = Some(index + 1);
        }
        Ok(())
    }
}
