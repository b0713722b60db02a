//! `cargo run -p webhook`: takes orders, tells a partner about each one *after* the response, and retries until the partner
//! accepts.
//!
//! It listens on `PORT` (3000). `PARTNER_URL` is the partner's address. Without it, the example starts its own partner,
//! which fails at first.

mod notify;
mod orders;
mod partner;
mod web;

use std::{
    env,
    io::{self, IsTerminal, Write},
    net::Ipv4Addr,
    process::ExitCode,
};

use defer_axum::{DeferLayer, Runner, ShutdownReport};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

use crate::{notify::Partner, orders::Orders};

async fn run() -> Result<ShutdownReport, Error> {
    let port = setting("PORT")?.unwrap_or_else(|| "3000".to_owned());
    let port: u16 = port.parse().map_err(|error| Error::setting("PORT", &port, error))?;
    let partner_url = match setting("PARTNER_URL")? {
        Some(url) => url,
        None => partner::start().await?,
    };
    let partner =
        Partner::at(&partner_url).map_err(|reason| Error::setting("PARTNER_URL", &partner_url, reason))?;

    let orders = Orders::default();
    let runner = Runner::builder().state(partner).on_event(notify::follow(orders.clone())).build();
    let app = web::routes(orders).layer(DeferLayer::new(runner));

    let signal = stop_signal()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(|error| Error::Listen { port, error })?;
    let url = format!("http://{}", listener.local_addr()?);
    // Not println!, which panics when stdout is closed.
    let _ = writeln!(
        io::stdout(),
        "listening on {url}\n\n\
         order something:  curl {url}/orders -H 'content-type: application/json' \
         -d '{{\"item\": \"tea\", \"quantity\": 2}}'\n\
         see what becomes: curl {url}/orders\n"
    );
    Ok(defer_axum::serve(listener, app).with_graceful_shutdown(signal).await?)
}

#[tokio::main]
async fn main() -> ExitCode {
    // Leaves out the library's own lines: `notify::follow` logs the result of each attempt.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,defer=off"));
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_env_filter(filter)
        .init();
    match run().await {
        Ok(report) => {
            tracing::info!(completed = report.completed, unfinished = report.unfinished.len(), "stopped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("webhook: {error}");
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

fn setting(variable: &'static str) -> Result<Option<String>, Error> {
    match env::var(variable) {
        Ok(value) => Ok(Some(value)),
        Err(env::VarError::NotPresent) => Ok(None),
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
