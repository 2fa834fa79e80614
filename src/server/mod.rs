//! What a running job serves over HTTP: its metrics, how it is, and whether it is alive.

pub mod metrics;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::checkpoint::Process;
use crate::error::{Error, Result};
use crate::job::lane::now;
use crate::job::progress::Progress;

/// Serves `/metrics` (Prometheus text), `/status` (JSON, a [`Report`](crate::job::report::Report)) and `/health` of a job at an address
/// until the process ends. Returns the address, whose port may have been 0.
pub async fn serve(address: SocketAddr, job: &str, progress: Arc<Progress>) -> Result<SocketAddr> {
    let failed = |cause: Box<dyn std::error::Error + Send + Sync>| {
        Error::permanent(format!("cannot serve metrics at {address}; choose another --metrics"), cause)
    };
    let recorder = PrometheusBuilder::new().install_recorder().map_err(|error| failed(error.into()))?;
    metrics::describe();
    let listener = tokio::net::TcpListener::bind(address).await.map_err(|error| failed(error.into()))?;
    let bound = listener.local_addr().map_err(|error| failed(error.into()))?;
    progress.watch();
    let (job, process) = (job.to_owned(), Process::this(now()));
    let report = move || progress.report(&job, &process, now());
    let shown = report.clone();
    let routes = Router::new()
        .route(
            "/metrics",
            get(move || async move {
                metrics::show(&shown());
                recorder.render()
            }),
        )
        .route("/status", get(move || async move { Json(report()) }))
        .route("/health", get(|| async { "ok\n" }));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::error!("metrics are no longer served: {error}");
        }
    });
    Ok(bound)
}
