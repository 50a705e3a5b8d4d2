//! Changes to real inputs, as they come from a tired editor, a broken disk, a proxy in between, or somebody who means
//! harm. The same seed makes the same changes.

use serde_json::{Value, json};

/// A stream of numbers from a seed: `SplitMix64`, <https://prng.di.unimi.it/splitmix64.c>.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.next() % bound as u64) as usize }
    }

    pub fn of<'t, T>(&mut self, list: &'t [T]) -> &'t T {
        &list[self.below(list.len())]
    }
}

/// Words that mean something to a parser, a template engine, a number reader or a terminal.
const ODD: [&str; 62] = [
    "",
    "-1",
    "0",
    "-0.0",
    "1e308",
    "1e400",
    "-1e400",
    "NaN",
    "+Inf",
    "Infinity",
    "1e-400",
    "255",
    "256",
    "65536",
    "4294967296",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "0x7fffffffffffffffffff",
    "99999999999999999999h",
    "9223372036854775807s",
    "18446744073709551615ms",
    "-5m",
    "1h1h",
    "0.0000000000001s",
    "100%",
    "101%",
    "-1%",
    "1e99%",
    "10Ei",
    "99999999999999Ei",
    "1e18m",
    "null",
    "~",
    "true",
    "no",
    "[]",
    "{}",
    "\"\"",
    "\u{0}",
    "\u{feff}",
    "\u{202e}",
    "\u{1b}[2J",
    "💥",
    "é\u{301}",
    "\u{fffd}",
    "${env:X}",
    "${file:/dev/zero}",
    "{{ values }}",
    "{% for i in range(99999) %}",
    "{% include 'a' %}",
    "{#",
    "*a",
    "&a ",
    "<<: *a",
    "!!binary x",
    "---",
    "...",
    "\r\n",
    "\t",
    "2026-02-30T25:61:61Z",
    "-9999-01-01T00:00:00Z",
];

/// What opens a level, and what closes it.
const NESTS: [(&str, &str); 8] = [
    ("[", "]"),
    ("{\"a\":", "}"),
    ("{a: ", "}"),
    ("- ", ""),
    ("(", ")"),
    ("{% if 1 %}", "{% endif %}"),
    ("{{ [", "] }}"),
    ("? ", ""),
];

/// One to four changes of one of the inputs.
pub fn mutate(corpus: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = rng.of(corpus).clone();
    for _ in 0..=rng.below(4) {
        bytes = if rng.below(2) == 0 {
            by_json(&bytes, rng).unwrap_or_else(|| by_token(bytes, corpus, rng))
        } else {
            by_token(bytes, corpus, rng)
        };
    }
    bytes
}

/// Where a token begins and ends: letters and digits, or one other byte.
fn token(bytes: &[u8], rng: &mut Rng) -> std::ops::Range<usize> {
    let at = rng.below(bytes.len());
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if !bytes.get(at).is_some_and(word) {
        return at..(at + 1).min(bytes.len());
    }
    let start = bytes[..at].iter().rposition(|byte| !word(byte)).map_or(0, |before| before + 1);
    let end = bytes[at..].iter().position(|byte| !word(byte)).map_or(bytes.len(), |length| at + length);
    start..end
}

fn line(bytes: &[u8], rng: &mut Rng) -> std::ops::Range<usize> {
    let at = rng.below(bytes.len());
    let start = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |before| before + 1);
    let end =
        bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |length| at + length + 1);
    start..end
}

fn by_token(mut bytes: Vec<u8>, corpus: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let here = if rng.below(3) == 0 { line(&bytes, rng) } else { token(&bytes, rng) };
    match rng.below(13) {
        0 if !bytes.is_empty() => {
            let at = rng.below(bytes.len());
            bytes[at] ^= 1 << rng.below(8);
        }
        1 => bytes.truncate(rng.below(bytes.len())),
        2 => drop(bytes.drain(here)),
        3 => {
            let copy = bytes[here.clone()].to_vec();
            let copies = copy.repeat(1 + rng.below(20));
            bytes.splice(here.start..here.start, copies);
        }
        4 => {
            let other = token(&bytes, rng);
            let (one, two) = (bytes[here.clone()].to_vec(), bytes[other.clone()].to_vec());
            if here.end <= other.start {
                bytes.splice(other, one);
                bytes.splice(here, two);
            }
        }
        5..=7 => drop(bytes.splice(here, rng.of(&ODD).bytes())),
        8 => drop(bytes.splice(here.start..here.start, rng.of(&ODD).bytes())),
        9 => {
            let long = rng.of(&ODD).repeat(1 << rng.below(12));
            bytes.splice(here, long.bytes().take(1 << 16));
        }
        10 => {
            let (open, close) = *rng.of(&NESTS);
            let depth = 1 << rng.below(14);
            bytes.splice(here.end..here.end, close.repeat(depth).bytes());
            bytes.splice(here.start..here.start, open.repeat(depth).bytes());
        }
        11 => {
            let other = rng.of(corpus);
            let from = line(other, rng).start;
            bytes.splice(here, other[from..].iter().copied().take(4096));
        }
        _ => bytes.extend((0..=rng.below(40)).map(|_| rng.next() as u8)),
    }
    bytes
}

/// A change of one node of a JSON document: another type, another number, gone, twice, renamed, deeper.
fn by_json(bytes: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    let mut root: Value = serde_json::from_slice(bytes).ok()?;
    let count = nodes(&root);
    let node = nth(&mut root, &mut rng.below(count))?;
    match rng.below(9) {
        0 => *node = Value::Null,
        1 => *node = json!(rng.next() as i64),
        2 => *node = json!(f64::from_bits(rng.next())),
        3 => *node = json!(rng.of(&ODD)),
        4 => *node = json!([node.clone(), node.clone()]),
        5 => {
            let mut deep = node.take();
            for _ in 0..1 << rng.below(7) {
                deep = json!({ "a": deep });
            }
            *node = deep;
        }
        6 => match node {
            Value::Object(map) => {
                drop(map.keys().nth(rng.below(map.len())).cloned().map(|key| map.remove(&key)));
            }
            Value::Array(list) if !list.is_empty() => drop(list.remove(rng.below(list.len()))),
            other => *other = json!({}),
        },
        7 => match node {
            Value::Object(map) => {
                let key = map.keys().nth(rng.below(map.len())).cloned()?;
                let value = map.get(&key).cloned()?;
                map.insert((*rng.of(&ODD)).to_owned(), value);
            }
            Value::Array(list) if !list.is_empty() => {
                let copy = list[rng.below(list.len())].clone();
                list.extend(std::iter::repeat_n(copy, 1 << rng.below(9)));
            }
            other => *other = json!([]),
        },
        _ => {
            *node = match node {
                Value::Number(_) => json!(*rng.of(&[0_i64, -1, 1, i64::MAX, i64::MIN, 1 << 53])),
                Value::String(text) => json!(text.repeat(1 + rng.below(1000))),
                Value::Bool(flag) => json!(!*flag),
                _ => json!(u64::MAX),
            }
        }
    }
    serde_json::to_vec(&root).ok()
}

fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Object(map) => map.values().map(nodes).sum(),
        Value::Array(list) => list.iter().map(nodes).sum(),
        _ => 0,
    }
}

fn nth<'v>(value: &'v mut Value, left: &mut usize) -> Option<&'v mut Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Object(map) => map.values_mut().find_map(|value| nth(value, left)),
        Value::Array(list) => list.iter_mut().find_map(|value| nth(value, left)),
        _ => None,
    }
}
