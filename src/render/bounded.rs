//! Filters of the engine that could ask for more memory than there is, less that.

use minijinja::value::{Kwargs, Rest, StringInput, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, Value, filters};

/// Widest indentation, most parts of a list, widest field of a format.
const MOST: usize = 10_000;
/// Longest text that a filter makes, in bytes.
const LONGEST: usize = 4 << 20;

/// Puts them in the place of the engine's own.
pub(super) fn bound(engine: &mut Environment<'_>) {
    engine.add_filter("indent", indent);
    engine.add_filter("slice", slice);
    engine.add_filter("batch", batch);
    engine.add_filter("format", format);
    engine.add_filter("replace", replace);
    engine.add_filter("join", join);
}

fn refuse(what: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("{what} is more than a manifest can need"))
}

fn within(number: usize, what: &str) -> Result<(), Error> {
    if number > MOST { Err(refuse(&format!("{what} {number}"))) } else { Ok(()) }
}

fn indent(
    value: StringInput<'_>,
    width: Option<usize>,
    first: Option<bool>,
    blank: Option<bool>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let named = kwargs.peek::<Option<usize>>("width").ok().flatten();
    within(width.or(named).unwrap_or(0), "a width of")?;
    filters::indent(value, width, first, blank, kwargs)
}

fn slice(state: &State<'_, '_>, value: Value, count: usize, fill: Option<Value>) -> Result<Value, Error> {
    within(count, "a count of")?;
    filters::slice(state, value, count, fill)
}

fn batch(state: &State<'_, '_>, value: Value, count: usize, fill: Option<Value>) -> Result<Value, Error> {
    within(count, "a count of")?;
    filters::batch(state, value, count, fill)
}

/// A width in a format is a number of up to four digits.
fn format(state: &mut State<'_, '_>, text: &Value, values: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let shown = text.as_str().unwrap_or_default();
    let wide = shown.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() > 4);
    if wide || shown.contains('*') {
        return Err(refuse("a field that wide"));
    }
    filters::format(state, text, values)
}

fn replace(
    state: &mut State<'_, '_>,
    value: StringInput<'_>,
    from: StringInput<'_>,
    to: StringInput<'_>,
) -> Result<Value, Error> {
    let grows = to.as_str().len() > from.as_str().len();
    let times = if grows { value.as_str().matches(from.as_str()).count() } else { 0 };
    if times.saturating_mul(to.as_str().len()) > LONGEST {
        return Err(refuse("a text that long"));
    }
    filters::replace(state, value, from, to)
}

fn join(
    state: &mut State<'_, '_>,
    value: &Value,
    joiner: Option<StringInput<'_>>,
    attribute: Option<&str>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let between = joiner.as_ref().map_or(0, |text| text.as_str().len());
    let count = value.as_str().map_or_else(|| value.len().unwrap_or(0), str::len);
    if count.saturating_mul(between) > LONGEST {
        return Err(refuse("a text that long"));
    }
    filters::join(state, value, joiner, attribute, kwargs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_manifest_needs_goes_through_and_what_no_machine_has_does_not() {
        let mut engine = Environment::new();
        bound(&mut engine);
        for (text, expected) in [
            ("{{ 'a\nb' | indent(2) }}", Some("a\n  b")),
            ("{{ 'a\nb' | indent(width=2, first=true) }}", Some("  a\n  b")),
            ("{{ 'a,b' | replace(',', ';') }}", Some("a;b")),
            ("{{ [1, 2] | join(', ') }}", Some("1, 2")),
            ("{{ '%05d' | format(7) }}", Some("00007")),
            ("{{ 'x' | indent(10000000000) }}", None),
            ("{{ 'x' | indent(width=10000000000) }}", None),
            ("{{ [1] | slice(10000000000) | list }}", None),
            ("{{ [1] | batch(10000000000, 0) | list }}", None),
            ("{{ '%4000000000d' | format(1) }}", None),
            ("{{ ('a' * 1000000) | replace('a', 'b' * 1000000) }}", None),
            ("{{ range(100000) | list | join('x' * 100000) }}", None),
        ] {
            let rendered = engine.render_str(text, ()).ok();
            assert_eq!(rendered.as_deref(), expected, "{text}");
        }
    }
}
