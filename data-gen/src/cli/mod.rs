//! The command line.

mod events;
mod progress;
mod retail;
mod shop;

use clap::{Parser, Subcommand};

/// Fake shops, for demos, tests and benchmarks of Highwater.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Events(events::EventsArguments),
    Retail(retail::RetailArguments),
    Shop(shop::ShopArguments),
}

/// Does what was asked for.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Command::Events(arguments) => events::run(arguments).await,
        Command::Retail(arguments) => retail::run(arguments).await,
        Command::Shop(arguments) => shop::run(arguments).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn examples_in_the_help_are_valid() {
        let mut examples = 0;
        for command in Arguments::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            // A backslash continues the line, as in a shell.
            for example in help.replace("\\\n", " ").lines().filter(|line| line.trim_start().starts_with("data-gen")) {
                let words = example.split_whitespace().map(|word| word.trim_matches('\''));
                Arguments::try_parse_from(words).unwrap_or_else(|error| panic!("{example}: {error}"));
                examples += 1;
            }
        }
        assert!(examples >= 4);
    }

    #[test]
    fn bad_values_are_explained() {
        for (words, expected) in [
            (["data-gen", "events", "--topic", "t", "--late", "x"], "cannot read `x` as a share"),
            (["data-gen", "events", "--topic", "t", "--speed", "0"], "cannot read `0` as a rate"),
            (["data-gen", "events", "--topic", "t", "--start", "soon"], "cannot read `soon` as a time"),
            (["data-gen", "events", "--topic", "t", "--out-of-order", "5"], "cannot read `5` as a duration"),
        ] {
            let error = Arguments::try_parse_from(words).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
