//! Reading many objects by name: a LIST for many of one kind and namespace, of which only the named ones are kept while
//! the answer is parsed, and a GET for each of a few.

use crate::adapters::kubernetes::request::{self, Selection};
use crate::adapters::kubernetes::send::Patience;
use crate::adapters::kubernetes::{IN_FLIGHT, KubeCluster};
use crate::domain::object::ObjectRef;
use crate::ports::ClusterError;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};

/// From how many objects of a kind and namespace on a list is cheaper than single reads.
const WORTH_A_LIST: usize = 8;
/// A collection that holds so many times more than what is asked of it is not read to its end.
const TOO_MUCH_MORE: u64 = 16;
/// Records of Helm releases fill namespaces with megabytes; their type tells them apart.
const NO_HELM: &str = "type!=helm.sh/release.v1";

/// What is asked for: places in the caller's order.
enum Read {
    One(usize),
    Many(Vec<usize>),
}

/// A piece of a list; its items are parsed only if they are wanted.
#[derive(Deserialize)]
struct Piece<'a> {
    #[serde(default)]
    metadata: PieceMeta,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PieceMeta {
    #[serde(rename = "continue")]
    next: String,
    remaining_item_count: Option<u64>,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    metadata: HeadMeta<'a>,
}

#[derive(Deserialize)]
struct HeadMeta<'a> {
    #[serde(borrow)]
    name: std::borrow::Cow<'a, str>,
}

impl KubeCluster {
    /// The live objects of these names, in the order asked.
    pub(crate) async fn read_all(&self, objects: &[ObjectRef]) -> Result<Vec<Option<Value>>, ClusterError> {
        let reads = reads(objects).into_iter().map(|read| async move {
            match read {
                Read::One(at) => Ok(vec![(at, self.get_object(&objects[at]).await?)]),
                Read::Many(places) => self.read_many(objects, &places).await,
            }
        });
        let mut found = vec![None; objects.len()];
        let mut reads = stream::iter(reads).buffer_unordered(IN_FLIGHT);
        while let Some(some) = reads.try_next().await? {
            for (at, object) in some {
                found[at] = object;
            }
        }
        Ok(found)
    }

    /// All objects of one kind and namespace, piece by piece. A kind that the server does not know has none.
    pub(crate) async fn list_all(&self, kind: &ObjectRef) -> Result<Vec<Value>, ClusterError> {
        let resource = match self.discovery.resource(&self.api, kind, Patience::read()).await {
            Ok(resource) => resource,
            Err(ClusterError::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let namespace = if resource.namespaced { kind.namespace.as_str() } else { "" };
        let path = request::path(&kind.api_version, &resource.plural, namespace, "", "");
        let (mut found, mut next) = (Vec::new(), String::new());
        loop {
            let call = request::list(&path, Selection { fields: "", labels: "" }, &next);
            let answer = self.api.call(&call, Patience::read()).await?;
            let piece: Piece<'_> = self.api.parse(&answer)?;
            for item in piece.items.into_iter().flatten() {
                let fields: Map<String, Value> = serde_json::from_str(item.get()).unwrap_or_default();
                found.push(named(kind, fields));
            }
            request::go_on(&mut next, piece.metadata.next)?;
            if next.is_empty() {
                return Ok(found);
            }
        }
    }

    /// Objects of one kind and namespace.
    async fn read_many(
        &self,
        objects: &[ObjectRef],
        places: &[usize],
    ) -> Result<Vec<(usize, Option<Value>)>, ClusterError> {
        let first = &objects[places[0]];
        let resource = match self.discovery.resource(&self.api, first, Patience::read()).await {
            Ok(resource) => resource,
            // A kind that the server does not know has no objects.
            Err(ClusterError::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let namespace = if resource.namespaced { first.namespace.as_str() } else { "" };
        let path = request::path(&first.api_version, &resource.plural, namespace, "", "");
        let mut wanted: HashMap<&str, usize> =
            places.iter().map(|at| (objects[*at].name.as_str(), *at)).collect();
        let helm_too = wanted.keys().any(|name| name.starts_with("sh.helm.release."));
        let fields = if first.kind == "Secret" && !helm_too { NO_HELM } else { "" };
        let selection = Selection { fields, labels: "" };
        let mut found = Vec::with_capacity(places.len());
        let mut next = String::new();
        loop {
            let call = request::list(&path, selection, &next);
            let answer = match self.api.call(&call, Patience::read()).await {
                Ok(answer) => answer,
                // Roles of old let us get by name, not list; a piece may have expired meanwhile.
                Err(ClusterError::Forbidden { .. } | ClusterError::Server { code: 410, .. }) => break,
                Err(ClusterError::NotFound { .. }) => return Ok(found),
                Err(error) => return Err(error),
            };
            let piece: Piece<'_> = self.api.parse(&answer)?;
            for item in piece.items.into_iter().flatten() {
                if let Some((at, object)) = take(item, first, &mut wanted) {
                    found.push((at, Some(object)));
                }
            }
            request::go_on(&mut next, piece.metadata.next)?;
            if next.is_empty() || wanted.is_empty() {
                return Ok(found);
            }
            let left = piece.metadata.remaining_item_count.unwrap_or(0);
            if left > TOO_MUCH_MORE * wanted.len() as u64 {
                break;
            }
        }
        let rest =
            wanted.into_values().map(|at| async move { Ok((at, self.get_object(&objects[at]).await?)) });
        let rest: Vec<_> = stream::iter(rest).buffer_unordered(IN_FLIGHT).try_collect().await?;
        found.extend(rest);
        Ok(found)
    }
}

/// Which objects are read one by one, and which by lists.
fn reads(objects: &[ObjectRef]) -> Vec<Read> {
    let mut groups: BTreeMap<(&str, &str, &str), Vec<usize>> = BTreeMap::new();
    for (at, object) in objects.iter().enumerate() {
        let group = (object.api_version.as_str(), object.kind.as_str(), object.namespace.as_str());
        groups.entry(group).or_default().push(at);
    }
    let mut reads = Vec::new();
    for places in groups.into_values() {
        let distinct: std::collections::HashSet<&str> =
            places.iter().map(|at| objects[*at].name.as_str()).collect();
        if places.len() < WORTH_A_LIST || distinct.len() < places.len() {
            reads.extend(places.into_iter().map(Read::One));
        } else {
            reads.push(Read::Many(places));
        }
    }
    reads
}

/// The item, if it is wanted. Items of a list do not say their kind: they are given it.
fn take(item: &RawValue, kind: &ObjectRef, wanted: &mut HashMap<&str, usize>) -> Option<(usize, Value)> {
    let head: Head<'_> = serde_json::from_str(item.get()).ok()?;
    let at = wanted.remove(head.metadata.name.as_ref())?;
    let fields: Map<String, Value> = serde_json::from_str(item.get()).ok()?;
    Some((at, named(kind, fields)))
}

/// An item of a list with its kind.
fn named(kind: &ObjectRef, fields: Map<String, Value>) -> Value {
    let mut object = Map::with_capacity(fields.len() + 2);
    object.insert("kind".to_owned(), kind.kind.as_str().into());
    object.insert("apiVersion".to_owned(), kind.api_version.as_str().into());
    object.extend(fields);
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_of_a_kind_are_listed_and_few_are_read() {
        let map = |n: usize| ObjectRef::new("v1", "ConfigMap", "shop", &format!("m{n}"));
        let mut objects: Vec<ObjectRef> = (0..9).map(map).collect();
        objects.push(ObjectRef::deployment("shop", "api"));
        let shown: Vec<String> = reads(&objects)
            .iter()
            .map(|read| match read {
                Read::One(at) => format!("one {at}"),
                Read::Many(places) => format!("many {}", places.len()),
            })
            .collect();
        assert_eq!(shown, ["one 9", "many 9"]);
        objects.push(map(0));
        assert_eq!(reads(&objects).len(), 11, "a name that is asked for twice is read twice");
    }

    #[test]
    fn only_what_is_wanted_is_kept_of_a_list() {
        let text = r#"{"metadata":{"name":"a"},"data":{"k":"v"}}"#;
        let item: &RawValue = serde_json::from_str(text).unwrap();
        let kind = ObjectRef::new("v1", "ConfigMap", "shop", "a");
        let mut wanted = HashMap::from([("a", 7)]);
        let (at, object) = take(item, &kind, &mut wanted).unwrap();
        assert_eq!(
            (at, object["kind"].as_str(), object["data"]["k"].as_str()),
            (7, Some("ConfigMap"), Some("v"))
        );
        assert!(wanted.is_empty() && take(item, &kind, &mut wanted).is_none());
    }
}
