//! Environments: reading, layering, diagnostics, rendering, checks.

use deployctl::{config, render};
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn shipped_environments_load_and_render() {
    for name in ["dev", "staging", "production"] {
        let loaded = config::load(root(), name, &config::Overrides::default())
            .unwrap_or_else(|mistakes| panic!("{name}:\n{mistakes}"));
        for target in &loaded.environment.targets {
            let objects = render::render(&loaded.environment, target, "1.4.0")
                .unwrap_or_else(|mistakes| panic!("{name}:\n{mistakes}"));
            for object in &objects {
                println!("{} {} {}", object.origin, object.kind(), object.name());
            }
        }
    }
}
