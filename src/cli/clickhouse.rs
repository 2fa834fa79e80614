//! The ClickHouse that a command asks: as its arguments say, or as query files do.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use crate::error::{Error, Result};
use crate::options::Options;
use crate::sink::clickhouse::ClickHouseClient;

/// ClickHouse, when nobody says where it is.
const CLICKHOUSE: &str = "http://localhost:8123";

/// Where ClickHouse is.
#[derive(Debug, Args)]
pub(super) struct ClickHouseArgs {
    /// ClickHouse [default: as the files say, or http://localhost:8123]
    #[arg(long, value_name = "URL", env = "CLICKHOUSE_URL", hide_env_values = true)]
    clickhouse: Option<Secret>,
    /// The user in ClickHouse
    #[arg(long, value_name = "NAME", env = "CLICKHOUSE_USER")]
    clickhouse_user: Option<String>,
    /// The password in ClickHouse
    #[arg(long, env = "CLICKHOUSE_PASSWORD", hide_env_values = true, hide = true)]
    clickhouse_password: Option<Secret>,
}

impl ClickHouseArgs {
    /// Whether the arguments say where it is.
    pub(super) fn is_given(&self) -> bool {
        self.clickhouse.is_some()
    }

    /// The error of a ClickHouse that does not answer, and that nobody has named.
    pub(super) fn say_where(&self, error: Error, files: &[PathBuf]) -> Error {
        if self.is_given() || !files.is_empty() || !error.is_transient() {
            return error;
        }
        Error::transient(
            format!("nobody says where ClickHouse is (--clickhouse, CLICKHOUSE_URL, or --file), and at {CLICKHOUSE}"),
            error,
        )
    }

    /// A client: what the arguments do not say is as the options of a table do.
    pub(super) fn client(&self, options: Option<&Options>) -> Result<ClickHouseClient> {
        let option = |name: &str| options.and_then(|options| options.get(name));
        let secret = |secret: &'_ Option<Secret>| secret.as_ref().map(|secret| secret.0.clone());
        let url = secret(&self.clickhouse);
        let url = url.as_deref().or(option("url")).unwrap_or(CLICKHOUSE);
        let password = secret(&self.clickhouse_password);
        ClickHouseClient::trusting(
            url,
            self.clickhouse_user.as_deref().or(option("username")),
            password.as_deref().or(option("password")),
            option("ssl.ca-location"),
        )
    }
}

/// The name of the table that options are of, with its database.
pub(super) fn table_of(options: &Options) -> String {
    let name = options.get("table").unwrap_or(options.table()).replace(['`', '"'], "");
    match options.get("database") {
        Some(database) if !name.contains('.') => format!("{database}.{name}"),
        _ => name,
    }
}

/// A password, or a URL that may have one in it: not shown.
#[derive(Clone)]
pub(super) struct Secret(String);

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> std::result::Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
