//! The `highwater` command: see [`highwater::cli`].

use std::process::ExitCode;

/// Batches are made on one thread and given back on another: glibc's arenas keep twice the memory for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    highwater::cli::main()
}
