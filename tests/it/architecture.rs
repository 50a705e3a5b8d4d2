//! Arrows point down: reads the `use crate::` lines of every folder and fails on one that points up.

use std::fs;
use std::path::{Path, PathBuf};

/// Folder → folders that it may name.
const ALLOWED: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("ports", &["domain"]),
    ("rollout", &["ports", "domain"]),
    ("config", &["domain"]),
    ("render", &["config", "domain"]),
    ("plan", &["rollout", "render", "config", "ports", "domain"]),
    ("run", &["plan", "rollout", "ports", "domain"]),
    ("adapters", &["ports", "domain"]),
    ("sim", &["ports", "domain"]),
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
}

fn layer_of(path: &Path) -> String {
    let relative = path.strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap();
    relative.components().next().unwrap().as_os_str().to_string_lossy().into_owned()
}

fn all_sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut found);
    found.sort();
    found
}

#[test]
fn arrows_point_down() {
    let mut wrong = Vec::new();
    for path in all_sources() {
        let layer = layer_of(&path);
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == layer) else { continue };
        for (number, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            for part in line.split("crate::").skip(1) {
                let used: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let is_layer = ALLOWED.iter().any(|(name, _)| *name == used) || used == "cli";
                if is_layer && used != layer && !allowed.contains(&used.as_str()) {
                    wrong.push(format!("{}:{}: {layer} names {used}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_wiring_names_adapters_and_the_simulation() {
    let mut wrong = Vec::new();
    for path in
        all_sources().into_iter().filter(|path| layer_of(path) == "cli" && !path.ends_with("cli/wiring.rs"))
    {
        let text = fs::read_to_string(&path).unwrap();
        if text.contains("crate::adapters") || text.contains("crate::sim") {
            wrong.push(path.display().to_string());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_says_its_job() {
    let silent: Vec<String> = all_sources()
        .into_iter()
        .filter(|path| !fs::read_to_string(path).unwrap().starts_with("//!"))
        .map(|path| path.display().to_string())
        .collect();
    assert!(silent.is_empty(), "{}", silent.join("\n"));
}
