//! `cargo run -p audit`: documents that users change, and an audit log of who changed what. No response waits for the log, yet
//! a crash loses no entry of a request that was answered. Try it: kill it with `kill -9`, and start it again.
//!
//! It listens on `PORT` (3000). `DATABASE_URL` (`sqlite:documents.db`) stores the documents, `QUEUE_URL` (`sqlite:queue.db`)
//! the jobs until they are done, and `AUDIT_URL` (`sqlite:audit.db`) the log. The queue can also be on a server:
//! `postgres://..`. This is a demonstration: it believes whatever name a user gives, and shows the log to everyone.

mod documents;
mod log;
mod record;

use std::{
    env,
    io::{self, IsTerminal, Write},
    net::Ipv4Addr,
    process::ExitCode,
};

use axum::middleware::from_fn;
use defer_axum::{BoxError, DeferLayer, Runner};
use defer_sqlx::SqlxQueue;
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::net::TcpListener;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::{
    log::AuditLog,
    record::{Actor, REQUEST_ID, WriteEntry, identify, record},
};

async fn run() -> Result<(), BoxError> {
    let database = open("DATABASE_URL", "sqlite:documents.db").await?;
    let log = AuditLog::create(open("AUDIT_URL", "sqlite:audit.db").await?).await?;
    let url = setting("QUEUE_URL", "sqlite:queue.db")?;
    // Without the value, which may hold a password.
    let queue =
        SqlxQueue::connect(&url).await.map_err(|error| format!("QUEUE_URL is not usable: {error}"))?;
    let runner = Runner::builder()
        .state(log.clone())
        .queue(queue.clone())
        .max_running(4) // SQLite has one writer at a time: more connections would only wait for each other
        .build();

    let app = documents::routes(database)
        .await?
        .merge(log::routes(log))
        .layer(from_fn(record))
        // The id of the request is for the job's log lines.
        .layer(
            DeferLayer::new(runner.clone())
                .capture_extension::<Actor>()
                .capture_request_headers([REQUEST_ID]),
        )
        .layer(from_fn(identify)); // further out, because the `DeferLayer` captures the extension that it sets

    let signal = stop_signal()?;
    let port = setting("PORT", "3000")?;
    let port: u16 = port.parse().map_err(|error| format!("PORT={port:?} is not usable: {error}"))?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(|error| format!("cannot listen on port {port}: {error}; set PORT to another"))?;
    let url = format!("http://{}", listener.local_addr()?);
    // Not println!, which panics when stdout is closed.
    let _ = writeln!(
        io::stdout(),
        "listening on {url}\n\n\
         create or edit:  curl -X PUT {url}/documents/plan -H 'x-user: ada' -d 'Tea at four'\n\
         delete:          curl -X DELETE {url}/documents/plan -H 'x-user: ada'\n\
         see the log:     curl {url}/audit\n"
    );

    let worker = queue.worker(runner.clone()).job::<WriteEntry>();
    let report = defer_axum::serve(listener, app).with_graceful_shutdown(signal).with_worker(worker).await?;
    for job in report.unfinished {
        tracing::error!(id = %job.id, "an entry was not written");
    }
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_env_filter(filter)
        .init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("audit: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Opens a database whose commits are synced to disk.
async fn open(variable: &str, default: &str) -> Result<SqlitePool, BoxError> {
    let url = setting(variable, default)?;
    let connect = async {
        // sqlx takes any text as a file name, even `postgres://..`.
        if !url.starts_with("sqlite:") {
            return Err(sqlx::Error::Configuration(format!("expected, for example, {default}").into()));
        }
        let options: SqliteConnectOptions = url.parse()?;
        let options = options.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
        SqlitePoolOptions::new().connect_with(options.create_if_missing(true)).await
    };
    connect.await.map_err(|error| format!("{variable}={url:?} is not usable: {error}").into())
}

fn setting(variable: &str, default: &str) -> Result<String, BoxError> {
    match env::var(variable) {
        Err(env::VarError::NotPresent) => Ok(default.to_owned()),
        value => value.map_err(|error| format!("{variable} is not usable: {error}").into()),
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
