//! `deployctl validate [ENV]`: every mistake at once.

use crate::cli::CliError;
use crate::cli::session::Session;
use crate::config;
use crate::domain::diagnostic::Diagnostics;
use crate::domain::error::Exit;
use crate::render;
use serde_json::json;

#[expect(clippy::unnecessary_wraps, reason = "all commands have one form")]
pub fn run(session: &Session, env: Option<&str>) -> Result<Exit, CliError> {
    let validation = render::validate(&session.root, env);
    print(session, &validation.diagnostics);
    if session.json() {
        let line = json!({
            "type": "validated",
            "environments": validation.environments,
            "objects": validation.objects,
            "errors": validation.diagnostics.errors(),
            "warnings": validation.diagnostics.warnings(),
        });
        session.print(&format!("{line}\n"));
    } else {
        session.print(&format!("{validation}\n"));
    }
    Ok(if validation.diagnostics.errors() == 0 { Exit::Done } else { Exit::Usage })
}

/// Mistakes in the form that the session asks for.
pub fn print(session: &Session, mistakes: &Diagnostics) {
    if session.json() {
        for mistake in mistakes.to_json().as_array().into_iter().flatten() {
            let mut line = json!({"type": "diagnostic"});
            if let (Some(line), Some(mistake)) = (line.as_object_mut(), mistake.as_object()) {
                line.extend(mistake.clone());
            }
            session.print(&format!("{line}\n"));
        }
    } else if session.output.terminal {
        session.note(&config::report::graphical(mistakes, session.output.color, session.output.width));
    } else {
        session.note(&mistakes.to_string());
    }
}
