//! Sets of field paths, as `managedFields` keeps them in the form `FieldsV1`.

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::{Map, Value};

/// A set of field paths as a tree. An element of a path is spelled as in `FieldsV1`: `f:name` a field,
/// `k:{"name":"api"}` an item of a keyed list, `v:"x"` an item of a set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// Sorted by element. Most have one or two: a map's node would be ten times as large.
    nodes: Vec<(Box<str>, Node)>,
}

/// One element of a path and what continues it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Whether the path that ends here is in the set.
    pub member: bool,
    /// The longer paths.
    pub children: FieldSet,
}

impl Node {
    /// A path that ends here.
    #[must_use]
    pub fn leaf() -> Self {
        Self { member: true, children: FieldSet::default() }
    }

    /// Whether no path passes here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }
}

impl FieldSet {
    /// Whether it holds no path.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    fn place(&self, element: &str) -> Result<usize, usize> {
        self.nodes.binary_search_by(|(known, _)| (**known).cmp(element))
    }

    /// The node of an element.
    #[must_use]
    pub fn get(&self, element: &str) -> Option<&Node> {
        self.place(element).ok().map(|place| &self.nodes[place].1)
    }

    /// Adds a node unless it is empty.
    pub fn insert(&mut self, element: impl Into<Box<str>>, node: Node) {
        if node.is_empty() {
            return;
        }
        let element = element.into();
        match self.place(&element) {
            Ok(place) => self.nodes[place].1 = node,
            Err(place) => self.nodes.insert(place, (element, node)),
        }
    }

    /// The elements at this level.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(element, node)| (&**element, node))
    }

    /// Adds every path of another set.
    pub fn union(&mut self, other: &Self) {
        for (element, node) in &other.nodes {
            match self.place(element) {
                Err(place) => self.nodes.insert(place, (element.clone(), node.clone())),
                Ok(place) => {
                    let mine = &mut self.nodes[place].1;
                    mine.member |= node.member;
                    mine.children.union(&node.children);
                }
            }
        }
    }

    /// Takes away every path of another set; longer and shorter paths stay.
    pub fn subtract(&mut self, other: &Self) {
        self.nodes.retain_mut(|(element, mine)| {
            if let Some(node) = other.get(element) {
                mine.member &= !node.member;
                mine.children.subtract(&node.children);
            }
            !mine.is_empty()
        });
    }

    /// The paths that both sets hold.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut both = Self::default();
        for (element, node) in &self.nodes {
            if let Some(theirs) = other.get(element) {
                let member = node.member && theirs.member;
                both.insert(
                    element.clone(),
                    Node { member, children: node.children.intersection(&theirs.children) },
                );
            }
        }
        both
    }

    /// Whether both sets hold at least one path in common.
    #[must_use]
    pub fn intersects(&self, other: &Self) -> bool {
        self.nodes.iter().any(|(element, node)| {
            other.get(element).is_some_and(|theirs| {
                (node.member && theirs.member) || node.children.intersects(&theirs.children)
            })
        })
    }

    /// Whether it holds every path of another set.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.nodes.iter().all(|(element, node)| {
            self.get(element)
                .is_some_and(|mine| (mine.member || !node.member) && mine.children.covers(&node.children))
        })
    }

    /// Takes away a field with all that is below it.
    pub fn cut(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else { return };
        let Ok(place) = self.place(first) else { return };
        self.nodes[place].1.children.cut(rest);
        if rest.is_empty() || self.nodes[place].1.is_empty() {
            self.nodes.remove(place);
        }
    }

    /// The paths as error messages spell them: `.spec.containers[name="api"].image`.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect_paths(&mut String::new(), &mut paths);
        paths
    }

    fn collect_paths(&self, prefix: &mut String, paths: &mut Vec<String>) {
        for (element, node) in &self.nodes {
            let length = prefix.len();
            push_element(prefix, element);
            if node.member {
                paths.push(prefix.clone());
            }
            node.children.collect_paths(prefix, paths);
            prefix.truncate(length);
        }
    }

    /// The set as `FieldsV1`.
    #[must_use]
    pub fn to_fields_v1(&self) -> Value {
        serde_json::to_value(self).expect("a set has text for keys")
    }

    /// Reads `FieldsV1`; what is not an object is no path.
    #[must_use]
    pub fn from_fields_v1(value: &Value) -> Self {
        let mut set = Self::default();
        for (element, inner) in value.as_object().into_iter().flatten() {
            if element == "." {
                continue;
            }
            let member = is_member(inner);
            set.insert(element.as_str(), Node { member, children: Self::from_fields_v1(inner) });
        }
        set
    }
}

impl Serialize for FieldSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.nodes.iter().map(|(element, node)| (element, node)))
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let nodes = &self.children.nodes;
        let mut map = serializer.serialize_map(None)?;
        if self.member && !nodes.is_empty() {
            map.serialize_entry(".", &Map::new())?;
        }
        for (element, node) in nodes {
            map.serialize_entry(element, node)?;
        }
        map.end()
    }
}

/// Whether a path ends at a node of `FieldsV1`.
fn is_member(inner: &Value) -> bool {
    inner.as_object().is_none_or(Map::is_empty) || inner.get(".").is_some()
}

fn push_element(path: &mut String, element: &str) {
    if let Some(name) = element.strip_prefix("f:") {
        path.push('.');
        path.push_str(name);
    } else if let Some(keys) = element.strip_prefix("k:") {
        let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
        let keys: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
        path.push('[');
        path.push_str(&keys.join(","));
        path.push(']');
    } else if let Some(value) = element.strip_prefix("v:") {
        path.push_str("[=");
        path.push_str(value);
        path.push(']');
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_v1_survives_a_round_trip() {
        let fields = json!({"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:image": {}}}}});
        let set = FieldSet::from_fields_v1(&fields);
        assert_eq!(set.to_fields_v1(), fields);
        assert_eq!(set.paths(), [".spec.containers[name=\"a\"]", ".spec.containers[name=\"a\"].image"]);
    }

    #[test]
    fn subtraction_takes_exact_paths_only() {
        let mut set = FieldSet::from_fields_v1(&json!({"f:a": {".": {}, "f:b": {}}}));
        set.subtract(&FieldSet::from_fields_v1(&json!({"f:a": {}})));
        assert_eq!(set.to_fields_v1(), json!({"f:a": {"f:b": {}}}));
    }
}
