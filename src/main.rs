//! The thin binary: turns what `cli::main` says into an exit code.

fn main() -> std::process::ExitCode {
    deployctl::cli::main(std::env::args_os().collect())
}
