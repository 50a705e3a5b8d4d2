//! What Kubernetes v1.36 says about the shape of its built-in objects: fields, types, list keys, patch strategies.
//!
//! The table `kube_schema.bin` is made by `tools/kube_schema.py` from the API server's own `OpenAPI` documents. It is
//! gzipped text, one struct type a line, tab-separated: name, `A` if atomic, the `group/version/Kind`s it is the root
//! of, then one `name type flags merge-key default` a field, where flags are `!` required, `m` merged by strategic
//! merge patch, `r` retains keys. Types: `s` string, `d`/`D` time, `y` base64, `i`/`l` integers, `n` number, `b` bool,
//! `q` quantity, `x` int-or-string, `j` anything, `e(..)` enum, `@N` struct, `{T` map, `{!T` atomic map, `[aT` atomic
//! list, `[sT` set, `[m(keys)T` list keyed by fields.

mod check;
mod table;

pub use check::{Problem, ProblemKind};
pub use table::builtin;

use serde_json::Value;
use std::collections::HashMap;

/// The type of a field or of an element.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// A string.
    String,
    /// An RFC 3339 time in seconds.
    Time,
    /// An RFC 3339 time in microseconds.
    MicroTime,
    /// Bytes in base64.
    Bytes,
    /// A 32-bit integer.
    Int32,
    /// A 64-bit integer.
    Int64,
    /// A floating-point number.
    Number,
    /// True or false.
    Bool,
    /// An amount such as `100m` or `1Gi`.
    Quantity,
    /// A number or a string, such as a percentage or the name of a port.
    IntOrString,
    /// Anything.
    Any,
    /// One of some strings.
    Enum(Vec<String>),
    /// A struct with declared fields.
    Struct(StructId),
    /// A map from strings.
    Map {
        /// The type of the values.
        element: Box<Type>,
        /// Whether it is owned and replaced as a whole.
        atomic: bool,
    },
    /// A list.
    List {
        /// The type of the items.
        element: Box<Type>,
        /// How items are told apart.
        kind: ListKind,
    },
}

/// How the items of a list are told apart when lists are merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// Not at all: the list is one value.
    Atomic,
    /// By their value.
    Set,
    /// By the values of these fields.
    Map(Vec<String>),
}

/// Names a struct type of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StructId(u32);

/// A struct type.
#[derive(Clone, Debug, Default)]
pub struct StructType {
    /// Its name, such as `api.core.v1.Container`.
    pub name: String,
    /// Whether it is owned and replaced as a whole.
    pub atomic: bool,
    /// Its fields, sorted by name.
    pub fields: Vec<Field>,
    /// Whether fields that are not declared are kept.
    pub open: bool,
}

/// A field of a struct type.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: Type,
    /// Whether objects must have it.
    pub required: bool,
    /// What it is if not given; an empty object marks a struct that is always present.
    pub default: Option<Value>,
    /// Whether a strategic merge patch merges the list or map instead of replacing it.
    pub patch_merge: bool,
    /// The key by which a strategic merge patch tells items apart.
    pub patch_key: Option<String>,
    /// Whether a strategic merge patch drops the keys that it does not name.
    pub retain_keys: bool,
}

impl StructType {
    /// The declared field of a name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.binary_search_by(|field| field.name.as_str().cmp(name)).ok().map(|at| &self.fields[at])
    }
}

/// Struct types and the kinds that they are the roots of.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    /// Types with lower ids, shared with this schema.
    base: Option<&'static Schema>,
    types: Vec<StructType>,
    roots: HashMap<(String, String, String), StructId>,
}

impl Schema {
    /// A schema that adds types to the built-in ones.
    #[must_use]
    pub fn extension() -> Self {
        Self { base: Some(builtin()), types: Vec::new(), roots: HashMap::new() }
    }

    /// Adds a type; its fields are sorted here.
    pub fn add(&mut self, mut ty: StructType) -> StructId {
        ty.fields.sort_by(|a, b| a.name.cmp(&b.name));
        let offset = self.base.map_or(0, |base| base.types.len());
        self.types.push(ty);
        StructId((offset + self.types.len() - 1) as u32)
    }

    /// Gives an added type its fields, which may lead back to it; they are sorted here.
    pub fn set(&mut self, id: StructId, mut ty: StructType) {
        ty.fields.sort_by(|a, b| a.name.cmp(&b.name));
        let offset = self.base.map_or(0, |base| base.types.len());
        self.types[id.0 as usize - offset] = ty;
    }

    /// Makes a type of this schema the root of a kind.
    pub fn add_root(&mut self, group: String, version: String, kind: String, root: StructId) {
        self.roots.entry((group, version, kind)).or_insert(root);
    }

    /// The struct type behind an id.
    #[must_use]
    pub fn get(&self, id: StructId) -> &StructType {
        let index = id.0 as usize;
        match self.base {
            Some(base) if index < base.types.len() => &base.types[index],
            Some(base) => &self.types[index - base.types.len()],
            None => &self.types[index],
        }
    }

    /// The root type of a kind.
    #[must_use]
    pub fn root(&self, group: &str, version: &str, kind: &str) -> Option<StructId> {
        self.own_root(group, version, kind).or_else(|| self.base?.own_root(group, version, kind))
    }

    /// The root type of a kind that this schema adds to the built-in ones.
    #[must_use]
    pub fn own_root(&self, group: &str, version: &str, kind: &str) -> Option<StructId> {
        self.roots.get(&(group.to_owned(), version.to_owned(), kind.to_owned())).copied()
    }

    /// Group, version and kind of everything that has a root type, sorted.
    #[must_use]
    pub fn kinds(&self) -> Vec<(&str, &str, &str)> {
        let mut kinds = self.own_kinds();
        kinds.extend(self.base.into_iter().flat_map(Schema::kinds));
        kinds.sort_unstable();
        kinds
    }

    /// Group, version and kind of what this schema adds to the built-in ones, in no order.
    #[must_use]
    pub fn own_kinds(&self) -> Vec<(&str, &str, &str)> {
        self.roots
            .keys()
            .map(|(group, version, kind)| (group.as_str(), version.as_str(), kind.as_str()))
            .collect()
    }

    /// The root type of a kind, with its fields.
    #[must_use]
    pub fn lookup(&self, group: &str, version: &str, kind: &str) -> Option<&StructType> {
        self.root(group, version, kind).map(|id| self.get(id))
    }
}

/// Whether a text is a quantity: a decimal number with an optional SI, binary or exponent suffix.
#[must_use]
pub fn is_quantity(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let digits = number.chars().filter(char::is_ascii_digit).count();
    if digits == 0 || number.len() - digits > 1 {
        return false;
    }
    match suffix {
        "" | "n" | "u" | "m" | "k" | "M" | "G" | "T" | "P" | "E" | "Ki" | "Mi" | "Gi" | "Ti" | "Pi"
        | "Ei" => true,
        _ => suffix
            .strip_prefix(['e', 'E'])
            .map(|exponent| exponent.strip_prefix(['+', '-']).unwrap_or(exponent))
            .is_some_and(|exponent| !exponent.is_empty() && exponent.chars().all(|c| c.is_ascii_digit())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_follow_the_grammar() {
        for good in ["1", "100m", "1.5Gi", "1e3", "12E", "-1", ".5"] {
            assert!(is_quantity(good), "{good}");
        }
        for bad in ["", "lots", "1GiB", "1..2", "m", "1e"] {
            assert!(!is_quantity(bad), "{bad}");
        }
    }
}
