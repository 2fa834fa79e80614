//! The command line: one file a command.

mod demo;
mod environment;
mod explain;
mod job;
mod query;
mod run;
mod status;
mod test;
mod validate;
mod verify;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::error::{Error, Result};
use crate::sql::text::Variables;

const EXIT_CODES: &str = "\
Exit codes:
  0   done, or stopped by SIGINT or SIGTERM with everything delivered
  1   test: a case failed; verify: the copy is different
  2   a mistake in a query, an option or an argument
  3   Kafka, ClickHouse, a file or the network failed for good
  70  a bug in Highwater; please report it";

const DEFAULT_LOG: &str = "warn,highwater=info";

/// Streaming windowed analytics over change data: Kafka to ClickHouse, in SQL, exactly once.
#[derive(Debug, Parser)]
#[command(name = "highwater", version, about, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What to log: error, warn, info, debug, or a filter such as highwater=debug
    #[arg(long, global = true, env = "HIGHWATER_LOG", default_value = DEFAULT_LOG)]
    log: String,
    /// Read variables that the environment does not set from this file [default: .env, if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    env_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the queries of files until they end or are stopped
    Run(run::RunArgs),
    /// Check queries as far as that goes without running them
    Validate(validate::ValidateArgs),
    /// Say what queries do: what is decoded, windows, state, sinks
    Explain(explain::ExplainArgs),
    /// Set back a job that does not run
    #[command(subcommand)]
    Job(job::JobCommand),
    /// Run the cases of queries: records in, rows out, compared with what is expected
    Test(test::TestArgs),
    /// Compare a database with its mirror in ClickHouse, row by row where it must be; purge what is archived
    Verify(Box<verify::VerifyArgs>),
    /// Ask ClickHouse, and print the rows
    Query(query::QueryArgs),
    /// Show the main job in a minute: generated customers, windows, a comparison
    Demo(demo::DemoArgs),
}

/// Query files and their variables.
#[derive(Debug, Args)]
struct QueryArgs {
    /// Query files; several are read as one
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A value for ${NAME} in the files; what is not set comes from the environment
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = name_and_value)]
    set: Vec<(String, String)>,
}

impl QueryArgs {
    fn variables(&self) -> Variables {
        Variables::new(self.set.iter().cloned().collect::<BTreeMap<_, _>>())
    }
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("\"{text}\" is not NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Runs the command of the process's arguments.
pub fn main() -> ExitCode {
    // Before the arguments are parsed: some have their defaults from the environment.
    let arguments = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned());
    if let Err(error) = environment::read(arguments) {
        return fail(&error);
    }
    let cli = Cli::parse();
    // A test stops and resumes jobs all the time, and says itself what is wrong.
    let is_quiet = matches!(cli.command, Command::Test(_)) && cli.log == DEFAULT_LOG;
    if let Err(error) = crate::telemetry::start_logging(if is_quiet { "error" } else { &cli.log }) {
        return fail(&error);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = runtime.map_err(|cause| Error::permanent("cannot start", cause)).and_then(|runtime| {
        runtime.block_on(async {
            match cli.command {
                Command::Run(args) => run::run(args).await,
                Command::Validate(args) => validate::run(&args).await,
                Command::Explain(args) => explain::run(&args).await,
                Command::Job(command) => job::run(command).await,
                Command::Test(args) => return test::run(args).await,
                Command::Verify(args) => return verify::run(&args).await,
                Command::Query(args) => query::run(&args).await,
                Command::Demo(args) => demo::run(args).await,
            }?;
            Ok(ExitCode::SUCCESS)
        })
    });
    outcome.unwrap_or_else(|error| fail(&error))
}

/// Writes results to standard output. Whoever reads them may have had enough (`| head`), which is no error.
fn print_result(text: &str) -> Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(cause) if cause.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::permanent("cannot write to standard output", cause))
        }
        _ => Ok(()),
    }
}

fn fail(error: &Error) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(error.exit_code())
}
