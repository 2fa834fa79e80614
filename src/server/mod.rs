//! What a running job serves over HTTP: its metrics, and whether it is alive.

use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::error::{Error, Result};

/// Serves `/metrics` (Prometheus text) and `/health` at an address until the process ends. Returns the address, whose
/// port may have been 0.
pub async fn serve_metrics(address: SocketAddr) -> Result<SocketAddr> {
    let failed = |cause: Box<dyn std::error::Error + Send + Sync>| {
        Error::permanent(format!("cannot serve metrics at {address}; choose another --metrics"), cause)
    };
    let recorder = PrometheusBuilder::new().install_recorder().map_err(|error| failed(error.into()))?;
    let listener = tokio::net::TcpListener::bind(address).await.map_err(|error| failed(error.into()))?;
    let bound = listener.local_addr().map_err(|error| failed(error.into()))?;
    let routes = Router::new()
        .route("/metrics", get(move || async move { recorder.render() }))
        .route("/health", get(|| async { "ok\n" }));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::error!("metrics are no longer served: {error}");
        }
    });
    Ok(bound)
}
