//! `cargo run -p signup`: reads the environment, listens, serves, and stops when told to.

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
    #[error("cannot listen on {address}: {error}; HOST and PORT choose another address")]
    Listen { address: std::net::SocketAddr, error: io::Error },
    #[error("{0}")]
    Serve(#[from] io::Error),
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
            ExitCode::from(if matches!(error, Error::Config(_)) { 2 } else { 1 })
        }
    }
}

async fn run() -> Result<ShutdownReport, Error> {
    let config = Config::from_env()?;
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|error| Error::Listen { address: config.listen, error })?;
    let signal = stop_signal()?;
    let service = Service::open(&config).await?;
    // Not println!, which panics when nobody reads.
    let _ = writeln!(io::stdout(), "listening on http://{}", listener.local_addr()?);

    let stop = service.stop;
    let report = defer_axum::serve(listener, service.app, service.runner)
        .with_graceful_shutdown(async move {
            signal.await;
            tracing::info!("stopping: finishing what was asked and deferred");
            stop.cancel();
        })
        .drain_timeout(config.drain_timeout)
        .await?;
    Ok(report)
}

/// Completes at Ctrl-C and, on Unix, at SIGTERM, which service managers send to stop a process.
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
        tracing::warn!(job = job.name, id = %job.id, "unfinished; deferred again at the next start");
    }
}
