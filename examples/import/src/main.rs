//! `cargo run -p import`: a form takes a list of contacts and answers immediately, with an id. The import is a job that runs
//! afterwards. A page shows its progress, and a button cancels it.
//!
//! It listens on `PORT` (3000). Each line takes `LINE_MS` (200) milliseconds, so that there is something to see. This is a
//! demonstration: it stores nothing, and everyone who has the id of an import can follow and cancel it. A crash loses imports.
//! To keep them, give the runner a queue of `defer-sqlx`, and put `#[defer(queue)]` on the job.

mod import;
mod page;

use std::{
    env,
    error::Error,
    io::{self, IsTerminal, Write},
    net::Ipv4Addr,
    process::ExitCode,
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::Response,
    routing::{delete, get, post},
};
use defer_axum::{Cancel, DeferLayer, JobId, Runner, watch_sse};
use tokio::net::TcpListener;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::import::{Import, Pace};

/// Accepts an import. It runs once the client has this answer.
async fn accept(list: String) -> (StatusCode, Json<JobId>) {
    let lines: Vec<String> = list.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect();
    (StatusCode::ACCEPTED, Json(Import::defer(lines).id()))
}

/// Server-sent events: the progress of an import until it ends.
async fn progress(State(runner): State<Runner>, Path(id): Path<JobId>) -> Response {
    watch_sse(&runner, id).await
}

async fn cancel(State(runner): State<Runner>, Path(id): Path<JobId>) -> StatusCode {
    match runner.cancel(id).await {
        Cancel::Cancelled => StatusCode::NO_CONTENT,
        // The job is running and ends soon. The page learns of that from the events.
        Cancel::Asked => StatusCode::ACCEPTED,
        Cancel::Ended => StatusCode::CONFLICT,
        Cancel::Unknown => StatusCode::NOT_FOUND,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let pace = Pace(Duration::from_millis(setting("LINE_MS", 200)?));
    let runner = Runner::builder()
        .state(pace)
        .keep_outcomes(10_000) // of ended imports, for clients that ask later
        .build();
    let app = Router::new()
        .route("/imports", post(accept))
        .route("/imports/{id}", delete(cancel))
        .route("/imports/{id}/progress", get(progress))
        .merge(page::routes())
        .layer(DeferLayer::new(runner.clone()))
        .with_state(runner);

    let signal = stop_signal()?;
    let port: u16 = setting("PORT", 3000)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(|error| format!("cannot listen on port {port}: {error}; set PORT to another"))?;
    // Not println!, which panics when stdout is closed.
    let _ = writeln!(io::stdout(), "listening on http://{}", listener.local_addr()?);
    let report = defer_axum::serve(listener, app).with_graceful_shutdown(signal).await?;
    for job in report.unfinished {
        eprintln!("the import {} was not finished", job.id);
    }
    Ok(())
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
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("import: {error}");
            ExitCode::FAILURE
        }
    }
}

fn setting<T>(variable: &str, default: T) -> Result<T, String>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    match env::var(variable) {
        Ok(value) => value.parse().map_err(|error| format!("{variable}={value:?} is not usable: {error}")),
        Err(env::VarError::NotPresent) => Ok(default),
        Err(error) => Err(format!("{variable} is not usable: {error}")),
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
