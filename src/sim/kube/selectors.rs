//! Label selectors, of objects and of queries, and field selectors.

use serde_json::Value;

use super::errors::ApiStatus;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
    Greater(String, i64),
    Less(String, i64),
}

/// What labels must be for an object to be selected; empty selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

impl LabelSelector {
    /// The selector of an object's field: `matchLabels` and `matchExpressions`. `None` for null.
    #[must_use]
    pub fn of_object(selector: &Value) -> Option<Self> {
        let fields = selector.as_object()?;
        let mut requirements = Vec::new();
        for (key, value) in fields.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            let value = value.as_str().unwrap_or_default().to_owned();
            requirements.push(Requirement::In(key.clone(), vec![value]));
        }
        for one in fields.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let key = one["key"].as_str().unwrap_or_default().to_owned();
            let values = one["values"].as_array().into_iter().flatten();
            let values = values.filter_map(|value| value.as_str().map(str::to_owned)).collect();
            requirements.push(match one["operator"].as_str() {
                Some("NotIn") => Requirement::NotIn(key, values),
                Some("Exists") => Requirement::Exists(key),
                Some("DoesNotExist") => Requirement::Absent(key),
                _ => Requirement::In(key, values),
            });
        }
        Some(Self { requirements })
    }

    /// The selector of a plain map of labels, as Services have it.
    #[must_use]
    pub fn of_map(labels: &Value) -> Self {
        let labels = labels.as_object().into_iter().flatten();
        let requirements = labels
            .map(|(key, value)| {
                Requirement::In(key.clone(), vec![value.as_str().unwrap_or_default().to_owned()])
            })
            .collect();
        Self { requirements }
    }

    /// Reads the selector of a query: `app=api,tier in (a, b),!old`.
    pub fn parse(text: &str) -> Result<Self, ApiStatus> {
        let mut parser = Parser { tokens: tokens(text), at: 0 };
        parser.selector().map_err(ApiStatus::bad_request)
    }

    /// Whether it selects everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether it selects an object with these labels.
    #[must_use]
    pub fn matches(&self, labels: &Value) -> bool {
        self.requirements.iter().all(|requirement| requirement.holds(labels))
    }

    /// The selector as text, as the scale subresource shows it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut parts: Vec<String> = self.requirements.iter().map(Requirement::text).collect();
        parts.sort();
        parts.join(",")
    }
}

impl Requirement {
    fn holds(&self, labels: &Value) -> bool {
        let get = |key: &str| labels.get(key).and_then(Value::as_str);
        let number = |key: &str| get(key).and_then(|value| value.parse::<i64>().ok());
        match self {
            Self::In(key, values) => get(key).is_some_and(|value| values.iter().any(|one| one == value)),
            Self::NotIn(key, values) => get(key).is_none_or(|value| values.iter().all(|one| one != value)),
            Self::Exists(key) => get(key).is_some(),
            Self::Absent(key) => get(key).is_none(),
            Self::Greater(key, limit) => number(key).is_some_and(|value| value > *limit),
            Self::Less(key, limit) => number(key).is_some_and(|value| value < *limit),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::In(key, values) if values.len() == 1 => format!("{key}={}", values[0]),
            Self::In(key, values) => format!("{key} in ({})", values.join(",")),
            Self::NotIn(key, values) if values.len() == 1 => format!("{key}!={}", values[0]),
            Self::NotIn(key, values) => format!("{key} notin ({})", values.join(",")),
            Self::Exists(key) => key.clone(),
            Self::Absent(key) => format!("!{key}"),
            Self::Greater(key, limit) => format!("{key}>{limit}"),
            Self::Less(key, limit) => format!("{key}<{limit}"),
        }
    }
}

fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' => {}
            '(' | ')' | ',' | '>' | '<' => tokens.push(c.to_string()),
            '=' | '!' => {
                let mut token = c.to_string();
                if chars.peek() == Some(&'=') {
                    chars.next();
                    token.push('=');
                }
                tokens.push(token);
            }
            _ => {
                let mut token = c.to_string();
                while let Some(next) = chars.peek()
                    && !" \t\n\r(),<>=!".contains(*next)
                {
                    token.push(*next);
                    chars.next();
                }
                tokens.push(token);
            }
        }
    }
    tokens
}

struct Parser {
    tokens: Vec<String>,
    at: usize,
}

fn is_word(token: &str) -> bool {
    !token.is_empty() && !matches!(token, "(" | ")" | "," | "=" | "==" | "!=" | "!" | ">" | "<")
}

impl Parser {
    fn next(&mut self) -> String {
        let token = self.tokens.get(self.at).cloned().unwrap_or_default();
        self.at += 1;
        token
    }

    fn peek(&self) -> &str {
        self.tokens.get(self.at).map_or("", String::as_str)
    }

    fn selector(&mut self) -> Result<LabelSelector, String> {
        let mut requirements = Vec::new();
        while !self.peek().is_empty() {
            requirements
                .push(self.requirement().map_err(|why| format!("unable to parse requirement: {why}"))?);
            match self.next().as_str() {
                "" => break,
                "," if !self.peek().is_empty() => {}
                "," => {
                    return Err(
                        "unable to parse requirement: found '', expected: identifier after ','".to_owned()
                    );
                }
                found => {
                    return Err(format!(
                        "unable to parse requirement: found '{found}', expected: ',' or 'end of string'"
                    ));
                }
            }
        }
        Ok(LabelSelector { requirements })
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let first = self.next();
        if first == "!" {
            return Ok(Requirement::Absent(self.next()));
        }
        if !is_word(&first) {
            return Err(format!("found '{first}', expected: !, identifier, or 'end of string'"));
        }
        if matches!(self.peek(), "" | ",") {
            return Ok(Requirement::Exists(first));
        }
        let operator = self.next();
        match operator.as_str() {
            "in" => Ok(Requirement::In(first, self.values()?)),
            "notin" => Ok(Requirement::NotIn(first, self.values()?)),
            "=" | "==" | "!=" => {
                let value = if is_word(self.peek()) { self.next() } else { String::new() };
                Ok(if operator == "!=" {
                    Requirement::NotIn(first, vec![value])
                } else {
                    Requirement::In(first, vec![value])
                })
            }
            ">" | "<" => {
                let value = self.next();
                let limit = value.parse().map_err(|_| {
                    format!("values[0][{first}]: Invalid value: \"{value}\": for 'Gt', 'Lt' operators, the value must be an integer")
                })?;
                Ok(if operator == ">" {
                    Requirement::Greater(first, limit)
                } else {
                    Requirement::Less(first, limit)
                })
            }
            _ => Err(format!("found '{operator}', expected: in, notin, =, ==, !=, gt, lt")),
        }
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        let open = self.next();
        if open != "(" {
            return Err(format!("found '{open}' expected: '('"));
        }
        let mut values = Vec::new();
        loop {
            let token = self.next();
            match token.as_str() {
                ")" => return Ok(values),
                "," => {}
                "" => return Err("found '', expected: ',', ')' or identifier".to_owned()),
                _ => values.push(token),
            }
        }
    }
}

/// What fields must be for an object to be selected; empty selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<(String, String, bool)>,
}

impl FieldSelector {
    /// Reads the selector of a query: `status.phase=Running,metadata.name!=x`.
    pub fn parse(text: &str) -> Result<Self, ApiStatus> {
        let mut terms = Vec::new();
        for term in text.split(',').filter(|term| !term.is_empty()) {
            let (path, value, equal) = if let Some((path, value)) = term.split_once("!=") {
                (path, value, false)
            } else if let Some((path, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
                (path, value, true)
            } else {
                let why = format!("invalid selector: '{text}'; can't understand '{term}'");
                return Err(ApiStatus::bad_request(why));
            };
            terms.push((path.to_owned(), value.to_owned(), equal));
        }
        Ok(Self { terms })
    }

    /// Refuses fields that the kind cannot be selected by.
    pub fn check(&self, plural: &str) -> Result<(), ApiStatus> {
        for (path, _, _) in &self.terms {
            let general = matches!(path.as_str(), "metadata.name" | "metadata.namespace");
            let known = match plural {
                "pods" => path.starts_with("spec.") || path.starts_with("status."),
                "events" => {
                    path.starts_with("involvedObject.")
                        || matches!(path.as_str(), "reason" | "type" | "source" | "reportingComponent")
                }
                "nodes" => path == "spec.unschedulable",
                "namespaces" => path == "status.phase",
                "secrets" => path == "type",
                "jobs" => path == "status.successful",
                "replicasets" => path == "status.replicas",
                "services" => matches!(path.as_str(), "spec.clusterIP" | "spec.type"),
                _ => false,
            };
            if !general && !known {
                return Err(ApiStatus::bad_request(format!("field label not supported: {path}")));
            }
        }
        Ok(())
    }

    /// Whether it selects everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether it selects an object.
    #[must_use]
    pub fn matches(&self, object: &Value) -> bool {
        self.terms.iter().all(|(path, wanted, equal)| {
            let found = path.split('.').try_fold(object, |value, part| value.get(part));
            let same = match found {
                Some(Value::String(text)) => text == wanted,
                None | Some(Value::Null) => {
                    wanted.is_empty() || (wanted == "false" && path == "spec.unschedulable")
                }
                Some(other) => *wanted == format!("{other}"),
            };
            same == *equal
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn queries_select_by_sets() {
        let labels = json!({"app": "api", "tier": "web"});
        for (query, selected) in [
            ("app=api", true),
            ("app==api,tier!=db", true),
            ("tier in (web, db)", true),
            ("tier notin (web)", false),
            ("!old", true),
            ("old", false),
            ("", true),
        ] {
            assert_eq!(LabelSelector::parse(query).expect(query).matches(&labels), selected, "{query}");
        }
        assert!(LabelSelector::parse("app in (").is_err());
    }
}
