//! Which line of a template a rendered line came from.
//!
//! The template engine does not say. So a template is rendered a second time with invisible marks in front of
//! its lines; the marks are taken out again and tell the lines. Where the two outputs differ otherwise (a
//! template that looks at its own text), the marks are not trusted.

/// Opens a mark; private-use characters that no manifest holds.
const OPEN: char = '\u{e000}';
/// Closes a mark.
const CLOSE: char = '\u{e001}';

/// A line (from 1) of a template, which is named by its number in the renderer's list.
pub type Origin = (usize, usize);

/// The text of a template with marks.
pub fn mark(text: &str, file: usize) -> String {
    let mut marked = String::with_capacity(text.len() + text.len() / 8);
    let mut state = State::Text;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let body = line.trim_start_matches([' ', '\t']);
        if matches!(state, State::Text | State::Raw) && may_mark(body) {
            marked.push_str(&line[..line.len() - body.len()]);
            marked.extend([OPEN.to_string(), file.to_string(), ":".to_owned()]);
            marked.extend([(index + 1).to_string(), CLOSE.to_string()]);
            marked.push_str(body);
        } else {
            marked.push_str(line);
        }
        state = state.after(line);
    }
    marked
}

/// A mark must not stand between white space and a tag that trims it, nor make an empty line look full.
fn may_mark(body: &str) -> bool {
    !body.trim_end().is_empty() && !["{%", "{#", "{{-"].iter().any(|tag| body.starts_with(tag))
}

#[derive(Clone, Copy)]
enum State {
    Text,
    Raw,
    Inside(&'static str),
}

impl State {
    fn after(self, line: &str) -> Self {
        let mut state = self;
        let mut rest = line;
        loop {
            match state {
                Self::Text => {
                    let next = [("{{", "}}"), ("{%", "%}"), ("{#", "#}")]
                        .into_iter()
                        .filter_map(|(open, close)| rest.find(open).map(|at| (at, close)))
                        .min();
                    let Some((at, close)) = next else { return state };
                    rest = &rest[at + 2..];
                    let word = rest.trim_start_matches(['-', '+', ' ', '\t']);
                    if close == "%}" && word.starts_with("raw") {
                        let Some(end) = rest.find("%}") else { return Self::Inside(close) };
                        rest = &rest[end + 2..];
                        state = Self::Raw;
                    } else {
                        state = Self::Inside(close);
                    }
                }
                Self::Inside(close) => {
                    let Some(at) = rest.find(close) else { return state };
                    rest = &rest[at + 2..];
                    state = Self::Text;
                }
                Self::Raw => {
                    let Some(at) = rest.find("endraw") else { return state };
                    rest = &rest[at..];
                    state = Self::Inside("%}");
                }
            }
        }
    }
}

/// Takes the marks out of what was rendered: the text, and the origin of each line.
pub fn unmark(rendered: &str) -> (String, Vec<Option<Origin>>) {
    let mut text = String::with_capacity(rendered.len());
    let mut origins = Vec::new();
    let mut last = None;
    for line in rendered.split_inclusive('\n') {
        let mut own = None;
        let mut rest = line;
        while let Some(open) = rest.find(OPEN) {
            text.push_str(&rest[..open]);
            let after = &rest[open + OPEN.len_utf8()..];
            let Some(close) = after.find(CLOSE) else {
                rest = after;
                continue;
            };
            let parsed =
                after[..close].split_once(':').and_then(|(f, l)| Some((f.parse().ok()?, l.parse().ok()?)));
            own = own.or(parsed);
            last = parsed.or(last);
            rest = &after[close + CLOSE.len_utf8()..];
        }
        text.push_str(rest);
        origins.push(own.or(last));
    }
    (text, origins)
}
