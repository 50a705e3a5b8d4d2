//! The thin binary: turns what `cli::main` says into an exit code.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    deployctl::cli::main(std::env::args_os().collect())
}
