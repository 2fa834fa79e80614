//! The `highwater` command: see [`highwater::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    highwater::cli::main()
}
