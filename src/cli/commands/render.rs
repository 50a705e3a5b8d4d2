//! `deployctl render ENV`: the manifests as they would be sent, before revisions get their names; the values of Secrets
//! are not shown.

use crate::cli::CliError;
use crate::cli::args::WhatArgs;
use crate::cli::session::Session;
use crate::domain::error::{Code, Exit, Failure};
use crate::domain::object::Object;
use crate::domain::secret::HIDDEN;
use serde_json::{Value, json};
use std::fmt::Write as _;

pub fn run(session: &Session, what: &WhatArgs) -> Result<Exit, CliError> {
    let wanted = session.wanted(&what.place.env, &what.place.targets, &what.release)?;
    let mut text = String::new();
    for (target, objects) in &wanted.rendered {
        for object in objects {
            let shown = shown(object);
            if session.json() {
                let line =
                    json!({"type": "object", "target": target, "origin": object.origin, "object": shown});
                text.push_str(&line.to_string());
                text.push('\n');
                continue;
            }
            let yaml = serde_saphyr::to_string(&shown).map_err(|error| {
                Failure::new(Code(1), Exit::Internal, format!("{} cannot be printed", object.reference()))
                    .why(error.to_string())
            })?;
            let _ = writeln!(text, "---\n# {target}: {}\n{}", object.origin, yaml.trim_end());
        }
    }
    session.print(&text);
    Ok(Exit::Done)
}

/// The object, less the values of a Secret: what is printed ends up in logs.
fn shown(object: &Object) -> Value {
    let mut shown = object.value.clone();
    for field in ["data", "stringData"].iter().filter(|_| object.kind() == "Secret") {
        for value in
            shown.get_mut(field).and_then(Value::as_object_mut).into_iter().flat_map(|map| map.values_mut())
        {
            *value = HIDDEN.into();
        }
    }
    shown
}
