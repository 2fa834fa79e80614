//! A small client for ClickHouse's HTTP interface: queries as text, errors by who can mend them, names quoted.

use std::fmt;
use std::time::Duration;

use clickhouse::Compression;

use super::tls;
use crate::error::{Error, Result};
use crate::options::Options;

/// How long a statement may take unless `'sink.timeout'` says otherwise. An insert of a million rows takes seconds.
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

/// A connection to one ClickHouse server. Cheap to clone; never shows its password.
#[derive(Clone)]
pub struct ClickHouseClient {
    http: clickhouse::Client,
    place: String,
    timeout: Duration,
}

impl fmt::Debug for ClickHouseClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClickHouseClient").field("place", &self.place).finish_non_exhaustive()
    }
}

impl ClickHouseClient {
    /// A client for `http://[user:password@]host:port`; the arguments go before what the URL says. Connects to nothing yet.
    pub fn new(url: &str, username: Option<&str>, password: Option<&str>) -> Result<Self> {
        Self::trusting(url, username, password, None)
    }

    /// The same for HTTPS that trusts the authorities in a PEM file; without one, in that of `SSL_CERT_FILE`, or those that browsers
    /// trust.
    pub fn trusting(
        url: &str,
        username: Option<&str>,
        password: Option<&str>,
        authorities: Option<&str>,
    ) -> Result<Self> {
        let address = Address::parse(url)?;
        let http = if address.place.starts_with("https:") { tls::client(authorities)? } else { Default::default() };
        let mut http: clickhouse::Client = http.with_url(&address.place).with_compression(Compression::None);
        if let Some(username) = username.or(address.username.as_deref()) {
            http = http.with_user(username);
        }
        if let Some(password) = password.or(address.password.as_deref()) {
            http = http.with_password(password);
        }
        Ok(Self { http, place: address.place, timeout: DEFAULT_TIMEOUT })
    }

    /// A client from a table's options `url`, `username`, `password` and `sink.timeout`.
    pub fn from_options(options: &Options) -> Result<Self> {
        let (username, password) = (options.get("username"), options.get("password"));
        let mut client = Self::trusting(options.required("url")?, username, password, options.get("ssl.ca-location"))?;
        client.timeout = options.duration("sink.timeout", DEFAULT_TIMEOUT)?;
        Ok(client)
    }

    /// The server's URL without user and password, for messages.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// How long a statement may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The HTTP client below, for inserts.
    pub(super) fn http(&self) -> &clickhouse::Client {
        &self.http
    }

    /// Runs a statement and returns its rows as tab-separated text, escaped as ClickHouse does.
    pub async fn query_tsv(&self, sql: &str) -> Result<String> {
        self.query_with(sql, &[]).await
    }

    /// As [`Self::query_tsv`], with settings for this statement.
    pub async fn query_with(&self, sql: &str, settings: &[(&str, &str)]) -> Result<String> {
        self.ask(sql, settings, "TabSeparated").await
    }

    /// Runs a statement and returns its rows in one of ClickHouse's formats.
    pub async fn query_text(&self, sql: &str, format: &str) -> Result<String> {
        self.ask(sql, &[], format).await
    }

    /// Runs a statement with settings and returns its rows, a JSON object a line.
    pub async fn query_lines(&self, sql: &str, settings: &[(&str, &str)]) -> Result<String> {
        self.ask(sql, settings, "JSONEachRow").await
    }

    async fn ask(&self, sql: &str, settings: &[(&str, &str)], format: &str) -> Result<String> {
        let mut query = self.http.query_raw(sql);
        for (name, value) in settings {
            query = query.with_setting(*name, *value);
        }
        let run = async { query.fetch_bytes(format)?.collect().await };
        let answer = match tokio::time::timeout(self.timeout, run).await {
            Ok(answer) => answer,
            Err(_) => Err(clickhouse::error::Error::TimedOut),
        };
        let bytes = answer.map_err(|error| self.failed("cannot query ClickHouse", &error))?;
        String::from_utf8(bytes.to_vec())
            .map_err(|error| Error::permanent(format!("cannot read the answer of ClickHouse at {}", self.place), error))
    }

    /// Runs a statement and returns its rows, each value as text, NULL as `None`.
    pub async fn query_rows(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        let text = self.query_tsv(sql).await?;
        Ok(text.lines().map(|line| line.split('\t').map(unescape_tsv).collect()).collect())
    }

    /// Whether the server answers and knows the user.
    pub async fn ping(&self) -> Result<()> {
        self.query_tsv("SELECT 1").await.map(|_| ())
    }

    /// The server's version, such as `26.7.2.1`.
    pub async fn server_version(&self) -> Result<String> {
        self.query_tsv("SELECT version()").await.map(|text| text.trim().to_owned())
    }

    /// The error of something that was tried at this server.
    pub(super) fn failed(&self, what: &str, error: &clickhouse::error::Error) -> Error {
        let context = format!("{what} at {}", self.place);
        let cause = chain(error);
        let login =
            || error_code(&cause).filter(|code| *code == 516).map(|_| "check options 'username' and 'password'");
        if let Some(remedy) = tls::remedy(&cause).or_else(login) {
            return Error::permanent(format!("{context}: {remedy}"), cause);
        }
        if is_transient(error) { Error::transient(context, cause) } else { Error::permanent(context, cause) }
    }
}

/// The parts of a URL.
struct Address {
    place: String,
    username: Option<String>,
    password: Option<String>,
}

impl Address {
    /// Takes `scheme://[user[:password]@]host[:port][/path]` apart. The errors do not repeat the URL, which may hold a password.
    fn parse(url: &str) -> Result<Self> {
        let wrong = || Error::config("option 'url' is no ClickHouse URL, expected one such as 'http://localhost:8123'");
        let (scheme, rest) = url.trim().split_once("://").ok_or_else(wrong)?;
        if !matches!(scheme, "http" | "https") {
            return Err(Error::config(format!(
                "option 'url' has the scheme '{scheme}', expected 'http' or 'https' (ClickHouse's HTTP port, mostly 8123 or 8443)"
            )));
        }
        let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, query)| (rest, query));
        if !query.is_empty() {
            return Err(Error::config(
                "option 'url' has parameters after '?'; give them as options of the table instead",
            ));
        }
        let (authority, path) = rest.split_once('/').map_or((rest, ""), |(authority, path)| (authority, path));
        let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        let port = host.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.ends_with(']'));
        if host.is_empty()
            || host.starts_with(':')
            || host.contains([' ', '\\'])
            || port.is_some_and(|port| port.parse::<u16>().is_err())
        {
            return Err(wrong());
        }
        let slash = if path.is_empty() { "" } else { "/" };
        let (username, password) = match user {
            None => (None, None),
            Some(user) => match user.split_once(':') {
                None => (Some(percent_decoded(user)), None),
                Some((user, password)) => (Some(percent_decoded(user)), Some(percent_decoded(password))),
            },
        };
        Ok(Self { place: format!("{scheme}://{host}{slash}{path}"), username, password })
    }
}

/// `%40` → `@`. What is no valid escape stays as it is.
fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 3;
            }
            (byte, _) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// A name as ClickHouse reads it in any place: in backticks, with what is special escaped.
pub fn quote_identifier(name: &str) -> String {
    quoted(name, '`')
}

/// A string literal.
pub fn quote_string(text: &str) -> String {
    quoted(text, '\'')
}

fn quoted(text: &str, quote: char) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push(quote);
    for character in text.chars() {
        match character {
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\0' => quoted.push_str("\\0"),
            character if character == quote => {
                quoted.push('\\');
                quoted.push(quote);
            }
            character => quoted.push(character),
        }
    }
    quoted.push(quote);
    quoted
}

/// One value of a TabSeparated answer.
fn unescape_tsv(text: &str) -> Option<String> {
    if text == "\\N" {
        return None;
    }
    let mut value = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            value.push(character);
            continue;
        }
        match characters.next() {
            Some('t') => value.push('\t'),
            Some('n') => value.push('\n'),
            Some('r') => value.push('\r'),
            Some('0') => value.push('\0'),
            Some('b') => value.push('\u{8}'),
            Some('f') => value.push('\u{c}'),
            Some(other) => value.push(other),
            None => value.push('\\'),
        }
    }
    Some(value)
}

/// An error and its causes in one line; hyper keeps what matters ("connection refused") at the end of the chain.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let line = error.to_string();
        if !text.contains(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        cause = error.source();
    }
    text
}

/// The server's error code in a text such as `Code: 60. DB::Exception: …`.
pub(super) fn error_code(text: &str) -> Option<u32> {
    let digits = text.split("Code: ").nth(1)?;
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Whether the same may succeed later, unchanged: the network, and a server that is busy, full, starting or stopping.
/// Everything else (syntax, types, unknown names, access) stays until somebody acts.
pub(super) fn is_transient(error: &clickhouse::error::Error) -> bool {
    use clickhouse::error::Error as Cause;
    match error {
        Cause::Network(_) | Cause::TimedOut | Cause::Decompression(_) => true,
        Cause::BadResponse(text) => match error_code(text) {
            // Of the C++ library, code 1001.
            Some(code) => is_transient_code(code) || text.contains("No space left on device"),
            // No ClickHouse answered: a proxy, which may stand before a server that restarts.
            None => ["500", "502", "503", "504", "429", "Bad Gateway", "Service Unavailable", "Gateway Time"]
                .iter()
                .any(|sign| text.contains(sign)),
        },
        _ => false,
    }
}

/// ClickHouse's error codes that pass by themselves. Names as in its `src/Common/ErrorCodes.cpp`.
fn is_transient_code(code: u32) -> bool {
    matches!(
        code,
        3       // UNEXPECTED_END_OF_FILE: the request was cut off
        | 32    // ATTEMPT_TO_READ_AFTER_EOF
        | 33    // CANNOT_READ_ALL_DATA
        | 74
            ..=77 // CANNOT_READ_FROM_FILE_DESCRIPTOR, CANNOT_WRITE_TO_…, CANNOT_OPEN_FILE, CANNOT_CLOSE_FILE: disk trouble
        | 95    // CANNOT_READ_FROM_SOCKET
        | 96    // CANNOT_WRITE_TO_SOCKET
        | 159   // TIMEOUT_EXCEEDED
        | 160   // TOO_SLOW
        | 164   // READONLY: a server in read-only mode
        | 173   // CANNOT_ALLOCATE_MEMORY
        | 198   // DNS_ERROR
        | 201   // QUOTA_EXCEEDED
        | 202   // TOO_MANY_SIMULTANEOUS_QUERIES
        | 204   // CANNOT_FSYNC
        | 209   // SOCKET_TIMEOUT
        | 210   // NETWORK_ERROR
        | 216   // QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING: our own insert, still at work
        | 225   // NO_ZOOKEEPER
        | 236   // ABORTED: the server is stopping
        | 241   // MEMORY_LIMIT_EXCEEDED
        | 242   // TABLE_IS_READ_ONLY: a replica without its keeper
        | 243   // NOT_ENOUGH_SPACE
        | 252   // TOO_MANY_PARTS
        | 279   // ALL_CONNECTION_TRIES_FAILED
        | 285   // TOO_FEW_LIVE_REPLICAS
        | 286   // UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE
        | 289   // REPLICA_IS_NOT_IN_QUORUM
        | 319   // UNKNOWN_STATUS_OF_INSERT
        | 364   // RECEIVED_ERROR_TOO_MANY_REQUESTS
        | 394   // QUERY_WAS_CANCELLED
        | 415   // ALL_REPLICAS_LOST
        | 425   // SYSTEM_ERROR
        | 439   // CANNOT_SCHEDULE_TASK
        | 473   // DEADLOCK_AVOIDED
        | 499   // S3_ERROR
        | 500   // AZURE_BLOB_STORAGE_ERROR
        | 677   // THREAD_WAS_CANCELED
        | 700   // USER_SESSION_LIMIT_EXCEEDED
        | 710   // FAULT_INJECTED
        | 735   // QUERY_WAS_CANCELLED_BY_CLIENT
        | 745   // SERVER_OVERLOADED
        | 999 // KEEPER_EXCEPTION
    )
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let address = Address::parse("https://ann:p%40ss:w@ch.example:8443/proxy").expect("valid");
        assert_eq!(address.place, "https://ch.example:8443/proxy");
        assert_eq!(address.username.as_deref(), Some("ann"));
        assert_eq!(address.password.as_deref(), Some("p@ss:w"));
        assert_eq!(Address::parse("http://[::1]:8123").expect("valid").place, "http://[::1]:8123");
        for url in [
            "",
            "localhost:8123",
            "ftp://h:1",
            "http://",
            "http://ann:secret@",
            "http://h:port",
            "http://h:1/?password=secret",
        ] {
            let error = Address::parse(url).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains("'url'") && !error.contains("secret"), "{url}: {error}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let client = ClickHouseClient::new("http://ann:secret@h:1", None, Some("secret")).expect("valid");
        let shown =
            format!("{client:?} {} {:?}", client.place(), client.failed("x", &clickhouse::error::Error::TimedOut));
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn names_and_strings() {
        assert_eq!(quote_identifier("a`; DROP TABLE x --"), "`a\\`; DROP TABLE x --`");
        assert_eq!(quote_identifier("a\\`b.c\"d'"), "`a\\\\\\`b.c\"d'`");
        assert_eq!(quote_string("it's\n\\"), "'it\\'s\\n\\\\'");
        assert_eq!(unescape_tsv("a\\tb\\\\\\'\\n"), Some("a\tb\\'\n".to_owned()));
        assert_eq!(unescape_tsv("\\N"), None);
    }

    #[test]
    fn what_may_pass() {
        use clickhouse::error::Error as Cause;
        let server = |text: &str| is_transient(&Cause::BadResponse(text.to_owned()));
        for code in [159, 202, 210, 216, 241, 243, 252, 285, 999] {
            assert!(server(&format!("Code: {code}. DB::Exception: …")), "{code}");
        }
        for code in [16, 47, 53, 60, 62, 70, 81, 117, 192, 193, 321, 497, 516] {
            assert!(!server(&format!("Code: {code}. DB::Exception: max 503 rows")), "{code}");
        }
        assert!(server("503 Service Unavailable"));
        assert!(!server("404 Not Found"));
        assert!(is_transient(&Cause::Network("refused".into())) && is_transient(&Cause::TimedOut));
        assert!(!is_transient(&Cause::Unsupported("x".into())));
        assert_eq!(error_code("Code: 252. DB::Exception: Too many parts"), Some(252));
        assert_eq!(error_code("no code"), None);
    }
}
