//! `cargo run -p signup`: reads the environment, listens, serves, sends the mails, and stops when told to.
//!
//! `cargo run -p signup -- worker` only sends mails, beside other processes on the same queue.

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use defer_axum::ShutdownReport;
use signup::{Config, ConfigError, Service};
use tokio::net::TcpListener;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(
        "cannot listen on {address}: {error}; set HOST or PORT to another, or PORT to 0 for any free port"
    )]
    Listen { address: std::net::SocketAddr, error: io::Error },
    #[error("{0}")]
    Serve(#[from] io::Error),
    #[error("cannot install the metrics: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    #[error(transparent)]
    Worker(#[from] defer_sqlx::Error),
    #[error("unknown argument {0:?}; expected `worker`, to send mails only")]
    Argument(String),
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(io::stderr) // standard output says where the service listens, and no more
        .with_ansi(io::stderr().is_terminal())
        .with_env_filter(
            EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy(),
        )
        .init();
    match run().await {
        Ok(report) => {
            log(&report);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("signup: {error}");
            ExitCode::from(if matches!(error, Error::Config(_) | Error::Argument(_)) { 2 } else { 1 })
        }
    }
}

async fn run() -> Result<ShutdownReport, Error> {
    let config = Config::from_env()?;
    match std::env::args().nth(1).as_deref() {
        None => serve(config).await,
        Some("worker") => work(config).await,
        Some(other) => Err(Error::Argument(other.to_owned())),
    }
}

/// Sends mails until told to stop.
async fn work(config: Config) -> Result<ShutdownReport, Error> {
    let signal = stop_signal()?;
    let service = Service::open(&config).await?;
    let _ = writeln!(io::stdout(), "working");
    service.worker().run_until(signal).await?;
    Ok(service.runner.shutdown(config.drain_timeout).await)
}

async fn serve(config: Config) -> Result<ShutdownReport, Error> {
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|error| Error::Listen { address: config.listen, error })?;
    let signal = stop_signal()?;
    let exporter = signup::metrics::install()?;
    let service = Service::open(&config).await?;
    // Not println!, which panics when stdout is closed.
    let _ = writeln!(io::stdout(), "listening on http://{}", listener.local_addr()?);

    let worker = service.worker();
    let app = service.app.merge(signup::metrics::routes(exporter, service.runner.clone()));
    let stop = service.stop;
    let report = defer_axum::serve(listener, app)
        .with_graceful_shutdown(async move {
            signal.await;
            tracing::info!("stopping: finishing open requests and deferred jobs");
            stop.cancel();
        })
        .drain_timeout(config.drain_timeout)
        .with_worker(worker)
        .await?;
    Ok(report)
}

/// Completes on Ctrl-C and, on Unix, on SIGTERM, which service managers send to stop a process.
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        Ok(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    {
        Ok(async {
            if let Err(error) = tokio::signal::ctrl_c().await {
                tracing::error!(%error, "cannot wait for Ctrl-C");
                std::future::pending::<()>().await;
            }
        })
    }
}

fn log(report: &ShutdownReport) {
    tracing::info!(completed = report.completed, "stopped; deferred jobs completed in the drain");
    for job in &report.unfinished {
        tracing::warn!(job = job.name, id = %job.id, "unfinished");
    }
    if report.queued > 0 {
        tracing::info!(jobs = report.queued, "left in the queue for the next start");
    }
}
