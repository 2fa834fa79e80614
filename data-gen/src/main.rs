//! The command `data-gen`: fake shops, for databases and for Kafka.

// A test says best by a panic what it did not find.
#![cfg_attr(test, allow(clippy::panic, clippy::unwrap_used))]

mod cli;

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    match cli::run(cli::Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", with_causes(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, without those that the one before them tells already, as sqlx and rdkafka do.
fn with_causes(error: &anyhow::Error) -> String {
    let mut causes = error.chain().map(ToString::to_string);
    let mut text = causes.next().unwrap_or_default();
    for cause in causes {
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once() {
        let refused = anyhow::anyhow!("refused").context("cannot reach it: refused").context("cannot connect");
        assert_eq!(with_causes(&refused), "cannot connect: cannot reach it: refused");
    }
}
