//! Whether nodes would take pods: their room, their taints, and what pods demand of their neighbours.
//!
//! An estimate: pods are put one by one where the most room is left, as a scheduler would roughly do.

use crate::domain::observed::NodeRoom;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Pods of one template that are to be placed.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    /// Whose.
    pub name: String,
    /// How many.
    pub count: u32,
    /// What each takes, thousandths of each resource's unit.
    pub requests: &'a BTreeMap<String, u64>,
    /// `metadata` and `spec`.
    pub template: &'a Value,
}

/// A pod that stands already.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// Where.
    pub node: &'a str,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
}

/// Pods that no node takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unplaced {
    /// Whose.
    pub name: String,
    /// How many of them.
    pub left: u32,
    /// How many were to be placed.
    pub asked: u32,
    /// Nodes by what stands against them.
    pub why: Vec<(String, usize)>,
    /// Whether a rule about neighbours stands against some node.
    pub neighbours: bool,
}

/// At most so many more pods of a selector in one domain than in another; none beside one for an anti-affinity.
struct Spread {
    key: String,
    selector: Value,
    /// `None`: no two in one domain.
    skew: Option<u64>,
    words: String,
}

/// What is not placed when all are tried, in this order.
#[must_use]
pub fn place(nodes: &[NodeRoom], standing: &[Standing<'_>], asks: &[Ask<'_>]) -> Vec<Unplaced> {
    let mut free: Vec<BTreeMap<String, i128>> = nodes.iter().map(room).collect();
    let mut there: Vec<(usize, BTreeMap<String, String>)> = standing
        .iter()
        .filter_map(|pod| Some((nodes.iter().position(|node| node.name == pod.node)?, pod.labels.clone())))
        .collect();
    let mut unplaced = Vec::new();
    for ask in asks {
        let labels = labels(ask.template);
        let spreads = spreads(ask.template, &labels);
        let mut wanted = ask.requests.clone();
        wanted.insert("pods".to_owned(), 1000);
        for placed in 0..ask.count {
            let against: Vec<Option<String>> = (0..nodes.len())
                .map(|node| {
                    refusal(&nodes[node], ask.template).or_else(|| short_of(&free[node], &wanted)).or_else(
                        || spreads.iter().find_map(|spread| crowded(spread, nodes, &there, node, ask)),
                    )
                })
                .collect();
            let fitting = (0..nodes.len()).filter(|node| against[*node].is_none());
            let room_of = |node: &usize| free[*node].get("cpu").copied().unwrap_or(0);
            let Some(best) = fitting.max_by_key(|node| (room_of(node), std::cmp::Reverse(*node))) else {
                let mut why: BTreeMap<String, usize> = BTreeMap::new();
                for reason in against.into_iter().flatten() {
                    *why.entry(reason).or_default() += 1;
                }
                let neighbours = spreads.iter().any(|spread| why.contains_key(&spread.words));
                let (name, asked) = (ask.name.clone(), ask.count);
                let why = why.into_iter().collect();
                unplaced.push(Unplaced { name, left: asked - placed, asked, why, neighbours });
                break;
            };
            for (resource, amount) in &wanted {
                *free[best].entry(resource.clone()).or_default() -= i128::from(*amount);
            }
            there.push((best, labels.clone()));
        }
    }
    unplaced
}

fn room(node: &NodeRoom) -> BTreeMap<String, i128> {
    let left = |(resource, given): (&String, &u64)| {
        let taken = node.requested.get(resource).copied().unwrap_or(0);
        (resource.clone(), i128::from(*given) - i128::from(taken))
    };
    node.allocatable.iter().map(left).collect()
}

fn short_of(free: &BTreeMap<String, i128>, wanted: &BTreeMap<String, u64>) -> Option<String> {
    let short = |(resource, amount): &(&String, &u64)| {
        **amount > 0 && free.get(*resource).copied().unwrap_or(0) < i128::from(**amount)
    };
    let (resource, _) = wanted.iter().find(short)?;
    Some(if resource == "pods" { "full of pods".to_owned() } else { format!("too little {resource}") })
}

/// Why a node takes no such pod, whatever its room.
fn refusal(node: &NodeRoom, template: &Value) -> Option<String> {
    if !node.open {
        return Some("closed or not ready".to_owned());
    }
    let spec = &template["spec"];
    let tolerations = spec["tolerations"].as_array().map_or(&[][..], Vec::as_slice);
    let untolerated = node.taints.iter().find(|taint| {
        matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
            && !tolerations.iter().any(|toleration| {
                let is = |key: &str, value: &str| toleration[key].as_str().is_none_or(|own| own == value);
                is("effect", &taint.effect)
                    && is("key", &taint.key)
                    && (toleration["operator"] == "Exists"
                        || toleration["value"].as_str().unwrap_or_default() == taint.value)
            })
    });
    if let Some(taint) = untolerated {
        return Some(format!("tainted with {}", taint.key));
    }
    let selected = spec["nodeSelector"].as_object().into_iter().flatten();
    let mut matches = selected.map(|(key, value)| node.labels.get(key).map(String::as_str) == value.as_str());
    let terms = spec
        .pointer("/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms");
    let terms = terms.and_then(Value::as_array);
    let wanted = matches.all(|matches| matches)
        && terms.is_none_or(|terms| terms.iter().any(|term| selects(term, &node.labels)));
    (!wanted).then(|| "not of the wanted sort".to_owned())
}

/// Why one more pod may not come to this node's domain.
fn crowded(
    spread: &Spread,
    nodes: &[NodeRoom],
    there: &[(usize, BTreeMap<String, String>)],
    node: usize,
    ask: &Ask<'_>,
) -> Option<String> {
    let Some(own) = nodes[node].labels.get(&spread.key) else {
        // A node without the label is in no domain: an anti-affinity does not concern it, a spread keeps off it.
        return spread.skew.map(|_| spread.words.clone());
    };
    // Nodes that take no such pod are no domains.
    let eligible = nodes.iter().filter(|node| refusal(node, ask.template).is_none());
    let domains = eligible.filter_map(|node| node.labels.get(&spread.key));
    let mut counts: BTreeMap<&str, u64> = domains.map(|domain| (domain.as_str(), 0)).collect();
    for (place, labels) in there {
        let domain = nodes[*place].labels.get(&spread.key);
        if let Some(count) = domain.and_then(|domain| counts.get_mut(domain.as_str()))
            && selects(&spread.selector, labels)
        {
            *count += 1;
        }
    }
    let here = counts.get(own.as_str()).copied().unwrap_or(0);
    let fits = match spread.skew {
        None => here == 0,
        Some(skew) => here < skew + counts.values().copied().min().unwrap_or(0),
    };
    (!fits).then(|| spread.words.clone())
}

/// Rules of a pod about pods like itself that have to be kept.
fn spreads(template: &Value, labels: &BTreeMap<String, String>) -> Vec<Spread> {
    let spec = &template["spec"];
    let mut found = Vec::new();
    let anti = spec.pointer("/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution");
    for term in anti.and_then(Value::as_array).into_iter().flatten() {
        found.push((term, None));
    }
    for constraint in spec["topologySpreadConstraints"].as_array().into_iter().flatten() {
        if constraint["whenUnsatisfiable"] != "ScheduleAnyway" {
            found.push((constraint, Some(constraint["maxSkew"].as_u64().unwrap_or(1))));
        }
    }
    let rule = |(term, skew): (&Value, Option<u64>)| {
        let key = term["topologyKey"].as_str().unwrap_or_default().to_owned();
        let selector = with_own_values(term, labels);
        // What keeps off others only says nothing of how many there may be.
        let concerns = selects(&selector, labels) || selector["matchLabels"].get(OWN).is_some();
        let words = match skew {
            None => format!("anti-affinity by {key}"),
            Some(skew) => format!("spread by {key} with maxSkew {skew}"),
        };
        concerns.then_some(Spread { key, selector, skew, words })
    };
    found.into_iter().filter_map(rule).collect()
}

/// A label that no pod has: stands for the hash that new pods of a Deployment alone will have.
const OWN: &str = "pod-template-hash";

/// The selector with the pod's own values of `matchLabelKeys`.
fn with_own_values(term: &Value, labels: &BTreeMap<String, String>) -> Value {
    let mut selector = term["labelSelector"].clone();
    for key in term["matchLabelKeys"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let value = labels.get(key).cloned().unwrap_or_else(|| "new".to_owned());
        selector["matchLabels"][key] = json!(value);
    }
    selector
}

/// The labels of a template's pods, the hash that they will have among them.
#[must_use]
pub fn labels(template: &Value) -> BTreeMap<String, String> {
    let own = template.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
    let mut labels: BTreeMap<String, String> =
        own.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect();
    labels.entry(OWN.to_owned()).or_insert_with(|| "new".to_owned());
    labels
}

/// A label selector; one that is not there selects nothing.
#[must_use]
pub fn selects(selector: &Value, labels: &BTreeMap<String, String>) -> bool {
    if !selector.is_object() {
        return false;
    }
    let mut equal = selector["matchLabels"].as_object().into_iter().flatten();
    let mut expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    equal.all(|(key, value)| labels.get(key).map(String::as_str) == value.as_str())
        && expressions.all(|expression| {
            let label = labels.get(expression["key"].as_str().unwrap_or_default());
            let values = || expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let among = label.is_some_and(|label| values().any(|value| value == label));
            match expression["operator"].as_str() {
                Some("In") => among,
                Some("NotIn") => !among,
                Some("Exists") => label.is_some(),
                Some("DoesNotExist") => label.is_none(),
                // `Gt` and `Lt` of node affinities: not judged.
                _ => true,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::observed::Taint;

    fn node(number: usize, cpu: u64) -> NodeRoom {
        let labels = [
            ("kubernetes.io/hostname", format!("n{number}")),
            ("topology.kubernetes.io/zone", format!("z{}", number % 2)),
        ];
        NodeRoom {
            name: format!("n{number}"),
            open: true,
            allocatable: BTreeMap::from([("cpu".to_owned(), cpu), ("pods".to_owned(), 10_000)]),
            labels: labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            ..NodeRoom::default()
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "tests write their objects where they stand")]
    fn placed(
        nodes: &[NodeRoom],
        at: &[&str],
        count: u32,
        spec: Value,
    ) -> Option<(u32, Vec<(String, usize)>)> {
        let template = json!({"metadata": {"labels": {"app": "api"}}, "spec": spec});
        let requests = BTreeMap::from([("cpu".to_owned(), 500)]);
        let labels =
            BTreeMap::from([("app".to_owned(), "api".to_owned()), (OWN.to_owned(), "old".to_owned())]);
        let standing: Vec<Standing<'_>> = at.iter().map(|node| Standing { node, labels: &labels }).collect();
        let ask = Ask { name: "api-r2".into(), count, requests: &requests, template: &template };
        let left = place(nodes, &standing, &[ask]);
        left.into_iter().next().map(|unplaced| (unplaced.left, unplaced.why))
    }

    #[expect(clippy::needless_pass_by_value, reason = "tests write their objects where they stand")]
    fn term(more: Value) -> Value {
        let mut term = json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "api"}}});
        for (key, value) in more.as_object().into_iter().flatten() {
            term[key] = value.clone();
        }
        term
    }

    #[test]
    fn pods_come_where_room_is_and_where_they_may() {
        let nodes = [node(0, 1000), node(1, 1000), node(2, 500)];
        assert_eq!(placed(&nodes, &[], 5, json!({})), None);
        assert_eq!(placed(&nodes, &[], 7, json!({})), Some((2, vec![("too little cpu".into(), 3)])));
        let mut some = nodes.to_vec();
        some[0].taints = vec![Taint { key: "gpu".into(), value: String::new(), effect: "NoSchedule".into() }];
        some[1].open = false;
        let why = vec![
            ("closed or not ready".into(), 1),
            ("tainted with gpu".into(), 1),
            ("too little cpu".into(), 1),
        ];
        assert_eq!(placed(&some, &[], 2, json!({})), Some((1, why)));
        let tolerant = json!({"tolerations": [{"key": "gpu", "operator": "Exists"}]});
        assert_eq!(placed(&some, &[], 3, tolerant), None);
        let elsewhere = json!({"nodeSelector": {"disk": "ssd"}});
        assert_eq!(placed(&nodes, &[], 1, elsewhere), Some((1, vec![("not of the wanted sort".into(), 3)])));
    }

    #[test]
    fn rules_about_neighbours_count_both_revisions_unless_they_tell_them_apart() {
        let nodes = [node(0, 4000), node(1, 4000), node(2, 4000), node(3, 4000)];
        let anti = |term: Value| json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}});
        let words = |words: &str, nodes| Some((1, vec![(words.to_owned(), nodes)]));
        let stable = ["n0", "n1", "n2"];
        assert_eq!(placed(&nodes, &stable, 1, anti(term(json!({})))), None);
        let by_host = words("anti-affinity by kubernetes.io/hostname", 4);
        assert_eq!(placed(&nodes, &stable, 2, anti(term(json!({})))), by_host);
        let apart = term(json!({"matchLabelKeys": ["pod-template-hash"]}));
        assert_eq!(placed(&nodes, &stable, 4, anti(apart)), None);

        let spread = |term: Value| json!({"topologySpreadConstraints": [term]});
        let zones = |more: Value| {
            let mut zone = term(json!({"topologyKey": "topology.kubernetes.io/zone", "maxSkew": 1}));
            for (key, value) in more.as_object().into_iter().flatten() {
                zone[key] = value.clone();
            }
            spread(zone)
        };
        // Two of n0's zone and none of the other: two may come there, then one each.
        assert_eq!(placed(&nodes, &["n0", "n2"], 4, zones(json!({}))), None);
        let mut full = nodes.to_vec();
        full[1].open = false;
        full[3].allocatable.insert("cpu".into(), 100);
        let why = vec![
            ("closed or not ready".to_owned(), 1),
            ("spread by topology.kubernetes.io/zone with maxSkew 1".to_owned(), 2),
            ("too little cpu".to_owned(), 1),
        ];
        assert_eq!(placed(&full, &["n0", "n2"], 1, zones(json!({}))), Some((1, why)));
        assert_eq!(
            placed(&full, &["n0", "n2"], 1, zones(json!({"whenUnsatisfiable": "ScheduleAnyway"}))),
            None
        );
    }
}
