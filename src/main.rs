//! The thin binary: turns what `cli::main` says into an exit code.

fn main() {}
