//! Values with types: which fields they have, how two of them differ, how they merge, how fields are taken out.

use serde_json::{Map, Value};

use crate::domain::kube_schema::{ListKind, Schema, Type};

use super::fields::{FieldSet, Node};

/// How one value became another.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Paths that are new.
    pub added: FieldSet,
    /// Paths that are gone.
    pub removed: FieldSet,
    /// Paths whose value differs.
    pub modified: FieldSet,
}

/// What a value is for ownership, once its type and the value itself have been looked at.
enum Atom<'a> {
    Leaf,
    Fields,
    Items(&'a Type, &'a ListKind),
}

fn atom_of<'a>(schema: &Schema, ty: &'a Type, value: &Value) -> Atom<'a> {
    match ty {
        Type::Struct(id) if !schema.get(*id).atomic => Atom::Fields,
        Type::Map { atomic: false, .. } => Atom::Fields,
        Type::Any if value.is_object() => Atom::Fields,
        Type::List { element, kind: kind @ (ListKind::Set | ListKind::Map(_)) } => Atom::Items(element, kind),
        _ => Atom::Leaf,
    }
}

const ANY: &Type = &Type::Any;

/// The type of a member of a struct or map, and whether the struct declares it.
fn member_type<'a>(schema: &'a Schema, ty: &'a Type, name: &str) -> (&'a Type, bool) {
    match ty {
        Type::Struct(id) => schema.get(*id).field(name).map_or((ANY, false), |field| (&field.ty, true)),
        Type::Map { element, .. } => (element, false),
        _ => (ANY, false),
    }
}

/// The name of an item of a keyed list or of a set.
#[must_use]
pub fn item_element(schema: &Schema, element: &Type, kind: &ListKind, item: &Value) -> Option<Box<str>> {
    let ListKind::Map(keys) = kind else {
        return Some(format!("v:{item}").into());
    };
    let mut name = Map::with_capacity(keys.len());
    let mut sorted: Vec<&String> = keys.iter().collect();
    sorted.sort();
    for key in sorted {
        let value = match item.get(key) {
            Some(value) if !value.is_null() => value.clone(),
            _ => default_of(schema, element, key)?,
        };
        name.insert(key.clone(), value);
    }
    Some(format!("k:{}", Value::Object(name)).into())
}

fn default_of(schema: &Schema, element: &Type, key: &str) -> Option<Value> {
    let Type::Struct(id) = element else { return None };
    schema.get(*id).field(key)?.default.clone()
}

/// The fields that a value sets: what its applier owns.
#[must_use]
pub fn fields_of(schema: &Schema, ty: &Type, value: &Value) -> FieldSet {
    field_node(schema, ty, value).children
}

fn field_node(schema: &Schema, ty: &Type, value: &Value) -> Node {
    let mut node = Node::default();
    match (atom_of(schema, ty, value), value) {
        (Atom::Fields, Value::Object(members)) => {
            for (name, member) in members {
                let (inner, declared) = member_type(schema, ty, name);
                let mut child = field_node(schema, inner, member);
                let hollow = member.is_null() || member.as_object().is_some_and(Map::is_empty);
                child.member |= hollow || !declared;
                node.children.insert(format!("f:{name}"), child);
            }
        }
        (Atom::Items(element, kind), Value::Array(items)) => {
            for item in items {
                if let Some(name) = item_element(schema, element, kind, item) {
                    let mut child = field_node(schema, element, item);
                    child.member = true;
                    node.children.insert(name, child);
                }
            }
        }
        _ => return Node::leaf(),
    }
    node
}

/// How `old` became `new`.
#[must_use]
pub fn compare(schema: &Schema, ty: &Type, old: &Value, new: &Value) -> Comparison {
    let [added, removed, modified] = compare_nodes(schema, ty, Some(old), Some(new));
    Comparison { added: added.children, removed: removed.children, modified: modified.children }
}

/// Added, removed and modified paths of one position.
type Nodes = [Node; 3];

fn compare_nodes(schema: &Schema, ty: &Type, old: Option<&Value>, new: Option<&Value>) -> Nodes {
    if old == new {
        return Nodes::default();
    }
    let witness = new.or(old).expect("two absent values are equal");
    let hollow = is_hollow(old) && is_hollow(new);
    let mut nodes = match atom_of(schema, ty, witness) {
        Atom::Fields if !hollow => compare_members(schema, ty, old, new),
        Atom::Items(element, kind) if !hollow => compare_items(schema, element, kind, old, new),
        _ => {
            let mut nodes = Nodes::default();
            nodes[2].member = old.is_some() && new.is_some();
            nodes
        }
    };
    nodes[0].member |= old.is_none();
    nodes[1].member |= new.is_none();
    nodes
}

/// Nothing, or a struct, map or list without members.
fn is_hollow(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(members)) => members.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    }
}

fn compare_members(schema: &Schema, ty: &Type, old: Option<&Value>, new: Option<&Value>) -> Nodes {
    let none = Map::new();
    let old = old.and_then(Value::as_object).unwrap_or(&none);
    let new = new.and_then(Value::as_object).unwrap_or(&none);
    let mut nodes = Nodes::default();
    for (name, value) in new.iter().filter(|(name, value)| old.get(name.as_str()) != Some(*value)) {
        let (inner, _) = member_type(schema, ty, name);
        insert_all(
            &mut nodes,
            &format!("f:{name}"),
            compare_nodes(schema, inner, old.get(name), Some(value)),
        );
    }
    for (name, value) in old.iter().filter(|(name, _)| !new.contains_key(name.as_str())) {
        let (inner, _) = member_type(schema, ty, name);
        insert_all(&mut nodes, &format!("f:{name}"), compare_nodes(schema, inner, Some(value), None));
    }
    nodes
}

fn compare_items<'a>(
    schema: &Schema,
    element: &Type,
    kind: &ListKind,
    old: Option<&'a Value>,
    new: Option<&'a Value>,
) -> Nodes {
    fn items(list: Option<&Value>) -> &[Value] {
        list.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }
    let named = |list: &'a [Value]| -> Vec<(Box<str>, &'a Value)> {
        list.iter().filter_map(|item| Some((item_element(schema, element, kind, item)?, item))).collect()
    };
    let (old, new) = (named(items(old)), named(items(new)));
    let mut nodes = Nodes::default();
    for (name, item) in &new {
        let before = old.iter().find(|(other, _)| other == name).map(|(_, item)| *item);
        insert_all(&mut nodes, name, compare_nodes(schema, element, before, Some(item)));
    }
    for (name, item) in old.iter().filter(|(name, _)| !new.iter().any(|(other, _)| other == name)) {
        insert_all(&mut nodes, name, compare_nodes(schema, element, Some(item), None));
    }
    nodes
}

fn insert_all(nodes: &mut Nodes, name: &str, found: Nodes) {
    for (node, found) in nodes.iter_mut().zip(found) {
        node.children.insert(name, found);
    }
}

/// Lays a configuration over a live value.
#[must_use]
pub fn merge(schema: &Schema, ty: &Type, live: &Value, config: &Value) -> Value {
    match (atom_of(schema, ty, config), live, config) {
        (Atom::Fields, Value::Object(live), Value::Object(config)) => {
            let mut merged = live.clone();
            for (name, value) in config {
                let (inner, _) = member_type(schema, ty, name);
                let value = match live.get(name) {
                    Some(before) => merge(schema, inner, before, value),
                    None => value.clone(),
                };
                merged.insert(name.clone(), value);
            }
            Value::Object(merged)
        }
        (Atom::Items(element, kind), Value::Array(live), Value::Array(config)) => {
            Value::Array(merge_items(schema, element, kind, live, config))
        }
        _ => config.clone(),
    }
}

/// The order is the configuration's; items that only the live list has stay before the item they preceded.
fn merge_items(
    schema: &Schema,
    element: &Type,
    kind: &ListKind,
    live: &[Value],
    config: &[Value],
) -> Vec<Value> {
    let name = |item: &Value| item_element(schema, element, kind, item);
    let live_names: Vec<_> = live.iter().map(name).collect();
    let config_names: Vec<_> = config.iter().map(name).collect();
    let mut merged = Vec::with_capacity(live.len() + config.len());
    let mut next = 0;
    let take_own = |next: &mut usize, merged: &mut Vec<Value>| {
        while *next < live.len() {
            if config_names.contains(&live_names[*next]) {
                break;
            }
            merged.push(live[*next].clone());
            *next += 1;
        }
    };
    for (item, name) in config.iter().zip(&config_names) {
        take_own(&mut next, &mut merged);
        match live_names.iter().position(|other| other == name) {
            Some(at) => {
                merged.push(merge(schema, element, &live[at], item));
                if at == next {
                    next += 1;
                }
            }
            None => merged.push(item.clone()),
        }
    }
    while next < live.len() {
        take_own(&mut next, &mut merged);
        next += 1;
    }
    merged
}

/// Takes fields with all that is below them out of a value; `None` if nothing is left of it.
#[must_use]
pub fn without(schema: &Schema, ty: &Type, value: &Value, fields: &FieldSet) -> Option<Value> {
    if fields.is_empty() {
        return Some(value.clone());
    }
    match (atom_of(schema, ty, value), value) {
        (Atom::Fields, Value::Object(members)) => {
            let mut left = Map::with_capacity(members.len());
            for (name, member) in members {
                let (inner, _) = member_type(schema, ty, name);
                if let Some(kept) = keep_member(schema, inner, member, fields.get(&format!("f:{name}"))) {
                    left.insert(name.clone(), kept);
                }
            }
            (!left.is_empty()).then_some(Value::Object(left))
        }
        (Atom::Items(element, kind), Value::Array(items)) => {
            let left: Vec<Value> = items
                .iter()
                .filter_map(|item| {
                    let name = item_element(schema, element, kind, item)?;
                    keep_member(schema, element, item, fields.get(&name))
                })
                .collect();
            (!left.is_empty()).then_some(Value::Array(left))
        }
        _ => Some(value.clone()),
    }
}

fn keep_member(schema: &Schema, ty: &Type, value: &Value, taken: Option<&Node>) -> Option<Value> {
    match taken {
        None => Some(value.clone()),
        Some(node) if node.member => None,
        Some(node) => without(schema, ty, value, &node.children),
    }
}

/// Adds to a set the declared fields that its paths pass through, so that a struct goes with its last field.
#[must_use]
pub fn with_named_parents(schema: &Schema, ty: &Type, set: &FieldSet) -> FieldSet {
    let mut whole = FieldSet::default();
    for (element, node) in set.iter() {
        let (inner, declared) = match element.strip_prefix("f:") {
            Some(name) => member_type(schema, ty, name),
            None => match ty {
                Type::List { element, .. } => (&**element, false),
                _ => (ANY, false),
            },
        };
        let children = with_named_parents(schema, inner, &node.children);
        let member = node.member || (declared && !children.is_empty());
        whole.insert(element, Node { member, children });
    }
    whole
}
