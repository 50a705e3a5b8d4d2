//! What the program tells people to type can be typed: every `deployctl …` in its texts and its documentation is parsed by
//! the command line itself, and every flag that it names is one that some command has.
//!
//! A text is read up to where its command ends: at a comma, a backtick, or a word that the command cannot take. What is put
//! in when the program runs (`{env}`) may be any word.

use clap::{CommandFactory as _, Parser as _};
use deployctl::cli::args::{Cli, with_short_form};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// What stands behind the program's name where it is spoken of, and nobody is told to type it.
const SPOKEN_OF: [&str; 13] = [
    "does",
    "environment",
    "guards",
    "kept",
    "knows",
    "labels",
    "must",
    "of",
    "runs",
    "talks",
    "that",
    "whose",
    "wrote",
];

/// Flags of other programs that texts name.
const OF_OTHERS: [&str; 6] =
    ["--context", "--name", "--namespace", "--previous", "--show-labels", "--sync-policy"];

/// What ends a command in a text, whatever comes then.
const ENDS: [&str; 12] = ["`", "\n", "\"", ";", "→", "(", ")", "#", ", ", ": ", " -->", " | "];

#[test]
fn commands_that_are_told_can_be_typed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut wrong = Vec::new();
    let mut read = 0;
    for file in files(root) {
        let text = std::fs::read_to_string(&file).unwrap();
        let is_code = file.extension().is_some_and(|end| end == "rs");
        let texts = if is_code { texts_of_code(&text) } else { commands_of_prose(&text) };
        let place = file.strip_prefix(root).unwrap().display().to_string();
        for told in texts {
            for command in commands(&told) {
                read += 1;
                if let Err(why) = can_be_typed(&command) {
                    wrong.push(format!("{place}: {command}: {why}"));
                }
            }
            // What kubectl takes is its own.
            if is_code && !told.contains("kubectl") {
                wrong.extend(
                    unknown_flags(&told).map(|flag| format!("{place}: no command has {flag}: {told}")),
                );
            }
        }
    }
    assert!(read > 200, "only {read} commands were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The check itself would see what is wrong.
#[test]
fn commands_that_cannot_be_typed_are_seen() {
    let seen =
        |told: &str| commands(told).iter().map(|command| can_be_typed(command).is_ok()).collect::<Vec<_>>();
    assert_eq!(seen("deployctl rollback ENV --to 12, then deployctl status {env} --watch"), [true, true]);
    assert_eq!(seen("create it with `deployctl init`"), [false]);
    assert_eq!(seen("deployctl metrics ENV --to 12"), [false]);
    assert_eq!(seen("deployctl resume {env} goes on, deployctl {env} --wihtout west"), [true, false]);
    assert_eq!(seen("this deployctl knows up to {FORMAT}"), [] as [bool; 0]);
    assert_eq!(unknown_flags("write e.g. --too 12, or --to 12").collect::<Vec<_>>(), ["--too"]);
    let code = "// \"deployctl no\"\nlet a = \"x \\\"deployctl status ENV\\\" \\\n   y\"; /// `deployctl pause ENV`\nlet b = '\"';\n\
                #[cfg(test)]\nmod tests { \"deployctl never\" }";
    assert_eq!(texts_of_code(code), ["x \"deployctl status ENV\" y", "deployctl pause ENV"]);
}

/// The program's sources less its own tests, and what is written for those who use it.
fn files(root: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = vec![root.join("README.md"), root.join("ARCHITECTURE.md")];
    let mut folders = vec![root.join("src"), root.join("docs"), root.join("runbooks")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            match path.extension().and_then(|end| end.to_str()) {
                _ if path.is_dir() => folders.push(path),
                Some("rs") if path.to_string_lossy().ends_with("_tests.rs") => {}
                Some("rs" | "md") => found.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

/// The string literals of a source, and what its comments put in backticks; not those of its own tests.
fn texts_of_code(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let mut texts = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find(['"', '/', '\'']) {
        let before = &rest[..at];
        rest = &rest[at..];
        if let Some(comment) = rest.strip_prefix("//") {
            let line = comment.split('\n').next().unwrap_or_default();
            texts.extend(commands_of_prose(line));
            rest = &comment[line.len()..];
        } else if rest.starts_with('"') {
            let raw = before.trim_end_matches('#');
            let hashes = "#".repeat(before.len() - raw.len());
            let (text, after) = literal(&rest[1..], raw.ends_with('r').then_some(hashes.as_str()));
            texts.push(text);
            rest = after;
        } else {
            let is_char = ["'\"'", "'\\\"'", "'\\''", "'/'"].iter().find(|char| rest.starts_with(**char));
            rest = &rest[is_char.map_or(1, |char| char.len())..];
        }
    }
    texts
}

/// One literal, of which the first quote was read, and what stands behind it. A raw one ends with as many hashes.
fn literal<'s>(rest: &'s str, raw: Option<&str>) -> (String, &'s str) {
    if let Some(hashes) = raw {
        let (text, after) = rest.split_once(&format!("\"{hashes}")).unwrap_or((rest, ""));
        return (text.to_owned(), after);
    }
    let (mut text, mut chars) = (String::new(), rest.char_indices().peekable());
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (text, &rest[at + 1..]),
            '\\' => match chars.next() {
                Some((_, '\n')) => while chars.next_if(|(_, char)| char.is_whitespace()).is_some() {},
                Some((_, 'n' | 't')) => text.push('\n'),
                Some((_, other)) => text.push(other),
                None => {}
            },
            char => text.push(char),
        }
    }
    (text, "")
}

/// What prose puts in backticks or on lines of their own, where a command stands there. One that is called by its name
/// alone has to be there: `--help` is all it can do.
fn commands_of_prose(text: &str) -> Vec<String> {
    let spans = text.split('`').skip(1).step_by(2);
    let lines = text.lines().map(|line| line.trim_start().trim_start_matches("$ "));
    let found = spans.chain(lines.filter(|line| !line.contains('`')));
    let found = found.filter(|found| found.starts_with("deployctl "));
    let typed = |found: &str| match found.split_whitespace().count() {
        2 => format!("{} --help", found.trim_end()),
        _ => found.to_owned(),
    };
    found.map(typed).collect()
}

/// The commands in a text, each up to the end of what belongs to it.
fn commands(text: &str) -> Vec<String> {
    let is_told = |rest: &&str| {
        let next = rest.split([' ', ',', '.', ';', ':', '`', '\n']).next().unwrap_or_default();
        next.starts_with(|first: char| first.is_ascii_alphabetic() || "{-".contains(first))
            && !SPOKEN_OF.contains(&next)
    };
    let whole = |rest: &str| {
        let end = ENDS.iter().filter_map(|end| rest.find(end)).min().unwrap_or(rest.len());
        format!("deployctl {}", rest[..end].trim_end_matches(['.', ',', ':', ' ']))
    };
    let is_word = |(at, _): &(usize, &str)| {
        !text[..*at].ends_with(|before: char| before.is_alphanumeric() || "/-_.".contains(before))
    };
    text.match_indices("deployctl ")
        .filter(is_word)
        .map(|(at, name)| &text[at + name.len()..])
        .filter(is_told)
        .map(whole)
        .collect()
}

/// Whether the command line takes it: all of it, or all up to words that go on with the sentence. No flag may be among
/// those.
fn can_be_typed(command: &str) -> Result<(), String> {
    let words: Vec<String> = command.split_whitespace().map(filled_in).collect();
    let first = words.get(1).ok_or("it names no command")?;
    let is_command = COMMANDS.contains(first);
    let stands_for_one = first.starts_with('-') || first.contains("ANY") || first.to_uppercase() == *first;
    let is_example = ["production", "staging"].contains(&first.as_str());
    if !is_command && !stands_for_one && !is_example {
        return Err(format!("there is no command {first}"));
    }
    let last_flag = words.iter().rposition(|word| word.starts_with('-')).unwrap_or(1);
    let mut why = String::new();
    for end in (last_flag + 1..=words.len()).rev() {
        let typed = words[..end].iter().map(Into::into).collect();
        match Cli::try_parse_from(with_short_form(typed)) {
            Ok(_) => return Ok(()),
            Err(error) if !error.use_stderr() => return Ok(()),
            Err(error) => why = error.to_string().lines().next().map(str::to_owned).unwrap_or_default(),
        }
    }
    Err(why)
}

/// A word as it may come out: what is put in is any word, and of `a|b` one is typed.
fn filled_in(word: &str) -> String {
    let mut filled = String::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        filled.push_str("ANY");
        rest = after.split_once('}').map_or("", |(_, after)| after);
    }
    filled.push_str(rest);
    let first = filled.split('|').next().unwrap_or_default();
    match first {
        "N" | "SEED" => "1".to_owned(),
        "SHELL" => "bash".to_owned(),
        "TIME" => "5m".to_owned(),
        "FORM" => "json".to_owned(),
        _ => first.to_owned(),
    }
}

/// Flags that no command has.
fn unknown_flags(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '-');
    words.filter(move |word| {
        let named = word.strip_prefix("--");
        let named = named.is_some_and(|name| name.starts_with(|char: char| char.is_ascii_lowercase()));
        named && !FLAGS.contains(*word) && !OF_OTHERS.contains(word)
    })
}

/// The flags of all commands.
static FLAGS: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let cli = Cli::command();
    let commands = cli
        .get_subcommands()
        .flat_map(|command| std::iter::once(command).chain(command.get_subcommands()))
        .chain([&cli]);
    let flags = commands.flat_map(clap::Command::get_arguments).filter_map(clap::Arg::get_long);
    flags.chain(["help", "version"]).map(|flag| format!("--{flag}")).collect()
});

/// The names of all commands.
static COMMANDS: LazyLock<BTreeSet<String>> =
    LazyLock::new(|| Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect());
