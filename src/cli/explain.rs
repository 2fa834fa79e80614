//! `highwater explain`.

use clap::Args;

use super::QueryArgs;
use crate::error::Result;
use crate::sql::query::load;

/// Arguments of `highwater explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    query: QueryArgs,
}

/// Runs the command.
pub(crate) async fn run(args: &ExplainArgs) -> Result<()> {
    let query = load(&args.query.files, &args.query.variables()).await?;
    let outputs = crate::job::check::check(&query, "explain")?;
    print!("{}", crate::job::explain::explain(&query, &outputs)?);
    Ok(())
}
