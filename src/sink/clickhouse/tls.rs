//! HTTPS to servers whose certificates are signed by an authority of one's own.

use std::sync::Arc;
use std::time::Duration;

use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::error::{Error, Result};

/// The file of authorities that programs trust by convention (OpenSSL, curl).
const VARIABLE: &str = "SSL_CERT_FILE";

/// As those of the client library: ClickHouse closes what is idle after three seconds.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
const IDLE: Duration = Duration::from_secs(2);

/// A client that trusts the authorities in this PEM file, or that of [`VARIABLE`]; without either, those that browsers trust.
pub(super) fn client(authorities: Option<&str>) -> Result<clickhouse::Client> {
    let given = authorities.map(|file| ("option 'ssl.ca-location'", file.to_owned()));
    let by_convention = || std::env::var(VARIABLE).ok().filter(|file| !file.is_empty()).map(|file| (VARIABLE, file));
    let Some((whose, file)) = given.or_else(by_convention) else { return Ok(clickhouse::Client::default()) };
    let wrong = |why: &str| {
        Error::config(format!("{whose} is the file '{file}', {why}; expected certificates as PEM, as in ca.pem"))
    };
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(&file).map_err(|error| wrong(&format!("which cannot be read: {error}")))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| wrong(&format!("which has a damaged part: {error}")))?;
        roots.add(certificate).map_err(|error| wrong(&format!("which has no certificate of an authority: {error}")))?;
    }
    if roots.is_empty() {
        return Err(wrong("in which there are no certificates"));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(Error::internal)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut connector = HttpConnector::new();
    connector.set_keepalive(Some(KEEP_ALIVE));
    connector.enforce_http(false);
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().wrap_connector(connector);
    let client = HyperClient::builder(TokioExecutor::new()).pool_idle_timeout(IDLE).build(connector);
    Ok(clickhouse::Client::with_http_client(client))
}

/// What to do about a server that is not trusted. A certificate that has run out may be renewed while the job waits.
pub(super) fn remedy(cause: &str) -> Option<&'static str> {
    let (_, why) = cause.split_once("invalid peer certificate: ")?;
    // The second: another authority of the same name is trusted.
    if why.starts_with("UnknownIssuer") || why.starts_with("BadSignature") {
        Some(
            "its certificate is signed by an authority that is not trusted here; give the authority's certificate (PEM) in the \
             table's option 'ssl.ca-location' or in SSL_CERT_FILE",
        )
    } else if why.contains("not valid for name") || why.starts_with("NotValidForName") {
        Some("its certificate is for another name; write the name that it is for in option 'url'")
    } else {
        None
    }
}
