//! `deployctl explain CODE`.

use crate::cli::CliError;
use crate::cli::explain;
use crate::cli::session::Session;
use crate::domain::diagnostic::nearest;
use crate::domain::error::{Code, Exit, Failure};
use serde_json::json;

pub fn run(session: &Session, code: Option<&str>) -> Result<Exit, CliError> {
    let Some(text) = code else {
        for (number, title, _) in explain::all() {
            session.say(&format!("{}  {title}", Code(number)));
        }
        return Ok(Exit::Done);
    };
    let digits = text.trim_start_matches(['D', 'C', 'd', 'c']);
    let found = digits
        .parse()
        .ok()
        .and_then(|number: u16| explain::all().into_iter().find(|(known, ..)| *known == number));
    let Some((number, title, explanation)) = found else {
        let known: Vec<String> =
            explain::all().iter().map(|(number, ..)| Code(*number).to_string()).collect();
        let failure = Failure::new(Code(710), Exit::Usage, format!("there is no code {text}"));
        let near = nearest(text, known.iter().map(String::as_str));
        return Err(failure
            .next(near.map_or("deployctl explain".to_owned(), |near| format!("deployctl explain {near}")))
            .into());
    };
    if session.json() {
        let line = json!({"type": "explanation", "code": Code(number).to_string(), "title": title, "text": explanation});
        session.print(&format!("{line}\n"));
    } else {
        session.print(&format!("{}: {title}\n\n{explanation}\n", Code(number)));
    }
    Ok(Exit::Done)
}
