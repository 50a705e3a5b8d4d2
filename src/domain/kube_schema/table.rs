//! The table of the built-in kinds in the binary.

use super::{Field, ListKind, Schema, StructId, StructType, Type};
use std::io::Read as _;
use std::sync::OnceLock;

static BUILTIN: OnceLock<Schema> = OnceLock::new();

/// The schema of the built-in kinds; read on first use, which takes a few milliseconds at most.
pub fn builtin() -> &'static Schema {
    BUILTIN.get_or_init(|| {
        let mut text = String::new();
        flate2::read::GzDecoder::new(&include_bytes!("../kube_schema.bin")[..])
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
}
