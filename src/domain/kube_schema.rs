//! What Kubernetes v1.36 says about the shape of its built-in objects: fields, types, list keys, patch strategies.
//!
//! The table `kube_schema.bin` is made by `tools/kube_schema.py` from the API server's own `OpenAPI` documents. It is
//! gzipped text, one struct type a line, tab-separated: name, `A` if atomic, the `group/version/Kind`s it is the root
//! of, then one `name type flags merge-key default` a field, where flags are `!` required, `m` merged by strategic
//! merge patch, `r` retains keys. Types: `s` string, `d`/`D` time, `y` base64, `i`/`l` integers, `n` number, `b` bool,
//! `q` quantity, `x` int-or-string, `j` anything, `e(..)` enum, `@N` struct, `{T` map, `{!T` atomic map, `[aT` atomic
//! list, `[sT` set, `[m(keys)T` list keyed by fields.

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::OnceLock;

use serde_json::Value;

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

static BUILTIN: OnceLock<Schema> = OnceLock::new();

/// The schema of the built-in kinds; read on first use, which takes a few milliseconds at most.
pub fn builtin() -> &'static Schema {
    BUILTIN.get_or_init(|| {
        let mut text = String::new();
        flate2::read::GzDecoder::new(&include_bytes!("kube_schema.bin")[..])
            .read_to_string(&mut text)
            .expect("the table in the binary is gzipped text");
        Schema::parse(&text)
    })
}

impl Schema {
    fn parse(text: &str) -> Self {
        let mut schema = Self::default();
        for (index, line) in text.lines().enumerate() {
            let mut columns = line.split('\t');
            let name = columns.next().unwrap_or_default().to_owned();
            let atomic = columns.next() == Some("A");
            let id = StructId(index as u32);
            for root in columns.next().unwrap_or_default().split(',').filter(|root| !root.is_empty()) {
                let mut parts = root.splitn(3, '/').map(str::to_owned);
                if let (Some(group), Some(version), Some(kind)) = (parts.next(), parts.next(), parts.next()) {
                    schema.roots.insert((group, version, kind), id);
                }
            }
            let fields = columns.map(parse_field).collect();
            schema.types.push(StructType { name, atomic, fields, open: false });
        }
        schema
    }

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

    /// Everything about an object that contradicts the declared types.
    #[must_use]
    pub fn problems(&self, group: &str, version: &str, kind: &str, object: &Value) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Some(root) = self.root(group, version, kind) {
            self.check_type(&Type::Struct(root), object, &mut String::new(), &mut problems);
        }
        problems
    }

    /// Checks a value against a type; problems are added in the order of the value's fields.
    pub fn check_type(&self, ty: &Type, value: &Value, path: &mut String, problems: &mut Vec<Problem>) {
        match (ty, value) {
            (_, Value::Null) | (Type::Any, _) => {}
            (Type::Struct(id), Value::Object(fields)) => self.check_struct(*id, fields, path, problems),
            (Type::Map { element, .. }, Value::Object(entries)) => {
                for (name, value) in entries {
                    within(path, name, |path| self.check_type(element, value, path, problems));
                }
            }
            (Type::List { element, .. }, Value::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    let length = path.len();
                    path.push('[');
                    path.push_str(&index.to_string());
                    path.push(']');
                    self.check_type(element, item, path, problems);
                    path.truncate(length);
                }
            }
            (Type::Quantity, Value::String(text)) if !is_quantity(text) => {
                problems.push(Problem { path: path.clone(), kind: ProblemKind::BadQuantity(text.clone()) });
            }
            (Type::Enum(allowed), Value::String(text)) if !text.is_empty() && !allowed.contains(text) => {
                let kind = ProblemKind::NotAllowed { value: text.clone(), allowed: allowed.clone() };
                problems.push(Problem { path: path.clone(), kind });
            }
            _ => {
                if !ty.accepts(value) {
                    let kind = ProblemKind::WrongType { expected: ty.name(), found: value_name(value) };
                    problems.push(Problem { path: path.clone(), kind });
                }
            }
        }
    }

    fn check_struct(
        &self,
        id: StructId,
        fields: &serde_json::Map<String, Value>,
        path: &mut String,
        problems: &mut Vec<Problem>,
    ) {
        let ty = self.get(id);
        for (name, value) in fields {
            within(path, name, |path| match ty.field(name) {
                Some(field) => self.check_type(&field.ty, value, path, problems),
                None if ty.open => {}
                None => problems.push(Problem { path: path.clone(), kind: ProblemKind::Unknown }),
            });
        }
        for field in ty.fields.iter().filter(|field| field.required && field.default.is_none()) {
            if fields.get(&field.name).is_none_or(Value::is_null) {
                within(path, &field.name, |path| {
                    problems.push(Problem { path: path.clone(), kind: ProblemKind::Missing });
                });
            }
        }
    }
}

/// Calls with a field's name added to a path.
fn within(path: &mut String, name: &str, call: impl FnOnce(&mut String)) {
    let length = path.len();
    if length > 0 {
        path.push('.');
    }
    path.push_str(name);
    call(path);
    path.truncate(length);
}

/// One place where an object contradicts its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The path of the field, such as `spec.template.spec.containers[0].image`.
    pub path: String,
    /// What is wrong with it.
    pub kind: ProblemKind,
}

/// How a field contradicts its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// The kind has no such field.
    Unknown,
    /// A required field is absent.
    Missing,
    /// The value is of another type.
    WrongType {
        /// The declared type.
        expected: &'static str,
        /// The type of the value.
        found: &'static str,
    },
    /// The value is not a quantity.
    BadQuantity(String),
    /// The value is not one of the allowed ones.
    NotAllowed {
        /// The value.
        value: String,
        /// The allowed values.
        allowed: Vec<String>,
    },
}

impl Type {
    fn accepts(&self, value: &Value) -> bool {
        match self {
            Self::String | Self::Time | Self::MicroTime | Self::Bytes | Self::Enum(_) => value.is_string(),
            Self::Int32 => value.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            Self::Int64 => value.is_i64() || value.is_u64(),
            Self::Number => value.is_number(),
            Self::Bool => value.is_boolean(),
            Self::Quantity => value.is_string() || value.is_number(),
            Self::IntOrString => value.is_string() || value.is_i64(),
            Self::Struct(_) | Self::Map { .. } => value.is_object(),
            Self::List { .. } => value.is_array(),
            Self::Any => true,
        }
    }

    /// What a person calls the type.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::String | Self::Enum(_) => "string",
            Self::Time | Self::MicroTime => "time",
            Self::Bytes => "base64 string",
            Self::Int32 | Self::Int64 => "integer",
            Self::Number => "number",
            Self::Bool => "boolean",
            Self::Quantity => "quantity",
            Self::IntOrString => "integer or string",
            Self::Struct(_) | Self::Map { .. } => "object",
            Self::List { .. } => "list",
            Self::Any => "anything",
        }
    }
}

fn value_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
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

fn parse_field(column: &str) -> Field {
    let mut parts = column.split(' ');
    let name = parts.next().unwrap_or_default().to_owned();
    let ty = parse_type(parts.next().unwrap_or_default());
    let flags = parts.next().unwrap_or_default();
    let key = parts.next().filter(|key| !key.is_empty()).map(str::to_owned);
    let default = parts.next().and_then(|json| serde_json::from_str(json).ok());
    Field {
        name,
        ty,
        required: flags.contains('!'),
        default,
        patch_merge: flags.contains('m'),
        patch_key: key,
        retain_keys: flags.contains('r'),
    }
}

fn parse_type(text: &str) -> Type {
    let rest = text.get(1..).unwrap_or_default();
    match text.as_bytes().first() {
        Some(b's') => Type::String,
        Some(b'd') => Type::Time,
        Some(b'D') => Type::MicroTime,
        Some(b'y') => Type::Bytes,
        Some(b'i') => Type::Int32,
        Some(b'l') => Type::Int64,
        Some(b'n') => Type::Number,
        Some(b'b') => Type::Bool,
        Some(b'q') => Type::Quantity,
        Some(b'x') => Type::IntOrString,
        Some(b'e') => Type::Enum(rest.trim_matches(['(', ')']).split(',').map(str::to_owned).collect()),
        Some(b'@') => Type::Struct(StructId(rest.parse().expect("the table numbers its types"))),
        Some(b'{') => match rest.strip_prefix('!') {
            Some(element) => Type::Map { element: Box::new(parse_type(element)), atomic: true },
            None => Type::Map { element: Box::new(parse_type(rest)), atomic: false },
        },
        Some(b'[') => parse_list(rest),
        _ => Type::Any,
    }
}

fn parse_list(text: &str) -> Type {
    let (kind, element) = if let Some(keyed) = text.strip_prefix("m(") {
        let (keys, element) = keyed.split_once(')').expect("the table closes its keys");
        (ListKind::Map(keys.split(',').map(str::to_owned).collect()), element)
    } else if let Some(element) = text.strip_prefix('s') {
        (ListKind::Set, element)
    } else {
        (ListKind::Atomic, text.get(1..).unwrap_or_default())
    };
    Type::List { element: Box::new(parse_type(element)), kind }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_knows_list_keys_and_patch_keys() {
        let schema = builtin();
        let pod = schema.lookup("", "v1", "Pod").expect("pods are built in");
        let Some(Type::Struct(spec)) = pod.field("spec").map(|field| field.ty.clone()) else {
            panic!("spec is a struct");
        };
        let containers = schema.get(spec).field("containers").expect("pods have containers");
        assert!(containers.patch_merge && containers.required);
        assert_eq!(containers.patch_key.as_deref(), Some("name"));
        assert!(matches!(&containers.ty, Type::List { kind: ListKind::Map(keys), .. } if keys == &["name"]));
    }

    #[test]
    fn unknown_fields_are_found_with_their_path() {
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicaz": 1, "template": {
            "spec": {"containers": [{"name": "a", "imagee": "x"}]}}}});
        let problems = builtin().problems("apps", "v1", "Deployment", &object).into_iter();
        let unknown = problems.filter(|problem| problem.kind == ProblemKind::Unknown);
        let paths: Vec<String> = unknown.map(|problem| problem.path).collect();
        assert_eq!(paths, ["spec.replicaz", "spec.template.spec.containers[0].imagee"]);
    }

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
