//! `deployctl render ENV`: the manifests as they would be sent, before revisions get their names.

use crate::cli::CliError;
use crate::cli::args::WhatArgs;
use crate::cli::session::Session;
use crate::domain::error::{Code, Exit, Failure};
use serde_json::json;
use std::fmt::Write as _;

pub fn run(session: &Session, what: &WhatArgs) -> Result<Exit, CliError> {
    let wanted = session.wanted(&what.place.env, &what.place.targets, &what.release)?;
    let mut text = String::new();
    for (target, objects) in &wanted.rendered {
        for object in objects {
            if session.json() {
                let line = json!({"type": "object", "target": target, "origin": object.origin, "object": object.value});
                text.push_str(&line.to_string());
                text.push('\n');
                continue;
            }
            let yaml = serde_saphyr::to_string(&object.value).map_err(|error| {
                Failure::new(Code(1), Exit::Internal, format!("{} cannot be printed", object.reference()))
                    .why(error.to_string())
            })?;
            let _ = writeln!(text, "---\n# {target}: {}\n{}", object.origin, yaml.trim_end());
        }
    }
    session.print(&text);
    Ok(Exit::Done)
}
