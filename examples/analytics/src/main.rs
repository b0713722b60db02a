//! `cargo run -p analytics`: a small site that records every response in SQLite *after* it was sent, so that no visitor waits
//! for the statistics, and shows charts at `/stats`.
//!
//! It listens on `PORT` (3000) and stores its data in `DATABASE_URL` (`sqlite:analytics.db`).

mod page;
mod site;
mod stats;
mod visits;

use std::{
    env,
    io::{self, IsTerminal, Write},
    net::Ipv4Addr,
    process::ExitCode,
};

use axum::{
    extract::Request,
    http::header::USER_AGENT,
    middleware::{Next, from_fn},
    response::Response,
};
use defer_axum::{DeferLayer, Runner, ShutdownReport};
use tokio::net::TcpListener;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::visits::{RecordVisit, Visits};

/// Defers a job for every request. This line is what adds analytics to the site.
async fn record_visit(request: Request, next: Next) -> Response {
    RecordVisit::defer();
    next.run(request).await
}

async fn run() -> Result<ShutdownReport, Error> {
    let port = setting("PORT", "3000")?;
    let port: u16 = port.parse().map_err(|error| Error::setting("PORT", &port, error))?;
    let database = setting("DATABASE_URL", "sqlite:analytics.db")?;
    let visits = Visits::open(&database).await.map_err(|error| {
        Error::setting(
            "DATABASE_URL",
            &database,
            format!("{error}; expected, for example, sqlite:analytics.db"),
        )
    })?;

    let runner = Runner::builder()
        .state(visits.clone())
        .max_running(4) // SQLite has one writer at a time: more connections would only wait for each other
        .build();
    let app = site::routes()
        .merge(stats::routes(visits))
        .layer(from_fn(record_visit))
        .layer(DeferLayer::new(runner).capture_request_headers([USER_AGENT]));

    let signal = stop_signal()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(|error| Error::Listen { port, error })?;
    // Not println!, which panics when stdout is closed.
    let _ = writeln!(io::stdout(), "listening on http://{}", listener.local_addr()?);
    Ok(defer_axum::serve(listener, app).with_graceful_shutdown(signal).await?)
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).from_env_lossy();
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_env_filter(filter)
        .init();
    match run().await {
        Ok(report) => {
            for job in report.unfinished {
                tracing::warn!(id = %job.id, "a visit was not recorded");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("analytics: {error}");
            ExitCode::from(if matches!(error, Error::Setting { .. }) { 2 } else { 1 })
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{variable}={value:?} is not usable: {reason}")]
    Setting { variable: &'static str, value: String, reason: String },
    #[error("cannot listen on port {port}: {error}; set PORT to another, or to 0 for any free port")]
    Listen { port: u16, error: io::Error },
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Error {
    fn setting(variable: &'static str, value: &str, reason: impl ToString) -> Self {
        Self::Setting { variable, value: value.to_owned(), reason: reason.to_string() }
    }
}

fn setting(variable: &'static str, default: &str) -> Result<String, Error> {
    match env::var(variable) {
        Ok(value) => Ok(value),
        Err(env::VarError::NotPresent) => Ok(default.to_owned()),
        Err(env::VarError::NotUnicode(value)) => {
            Err(Error::setting(variable, &value.to_string_lossy(), "it is not UTF-8"))
        }
    }
}

/// Completes on Ctrl-C and, on Unix, on SIGTERM, which service managers send to stop a process.
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    Ok(async move {
        #[cfg(unix)]
        let terminated = terminate.recv();
        #[cfg(not(unix))]
        let terminated = std::future::pending::<()>();
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated => {}
        }
    })
}
