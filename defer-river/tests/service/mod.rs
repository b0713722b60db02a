//! A service with durable jobs, in a database of its own.

// Cargo compiles this into each test program.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use defer_axum::Deferrable;
use defer_core::{
    Job, JobContext, JobError, JobId, JobResult, Runner, defer,
    queue::{Queue, QueuedJob},
};
use defer_river::{RiverQueue, Worker};
use serde::{Deserialize, Serialize};

/// Makes two tests of each scenario: on SQLite and on Postgres.
#[allow(unused_macros, reason = "each test program uses a part")]
macro_rules! scenarios {
    ($($name:ident,)+) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(super::Service::on_sqlite().await).await;
                }
            )+
        }

        #[cfg(feature = "_servers")]
        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(super::Service::on_postgres().await).await;
                }
            )+
        }
    };
}

pub(crate) type Journal = Arc<Mutex<Vec<String>>>;

/// How long a test waits for what must come. Only a failing test waits this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Set in processes that a test has started.
pub(crate) const CHILD: &str = "DEFER_TEST_CHILD";

/// A job of one attempt.
#[derive(Deferrable, Serialize, Deserialize)]
#[defer(queue, name = "Mail")]
pub(crate) struct Mail {
    note: String,
}

/// A job of two.
#[derive(Deferrable, Serialize, Deserialize)]
#[defer(queue, name = "Sync", tries = 2, backoff = "50ms..50ms", timeout = "30s")]
pub(crate) struct Sync {
    note: String,
}

impl Mail {
    pub(crate) fn new(note: &str) -> Self {
        Self { note: note.to_owned() }
    }
}

impl Sync {
    pub(crate) fn new(note: &str) -> Self {
        Self { note: note.to_owned() }
    }
}

impl Job for Mail {
    async fn run(&self, cx: &JobContext) -> JobResult {
        run(&self.note, cx).await
    }
}

impl Job for Sync {
    async fn run(&self, cx: &JobContext) -> JobResult {
        run(&self.note, cx).await
    }
}

async fn run(note: &str, cx: &JobContext) -> JobResult {
    let response = cx.response().map(|response| match response.status() {
        Some(status) => format!("{} {}", response.delivery(), status.as_u16()),
        None => response.delivery().to_string(),
    });
    let line = format!("{note} {} {}", cx.attempt(), response.as_deref().unwrap_or("none"));
    let journal = cx.state::<Journal>()?;
    let is_first = {
        let mut lines = journal.lock().unwrap();
        let is_first = !lines.contains(&line);
        lines.push(line);
        is_first
    };
    match note {
        "fails" => Err(JobError::msg("no\0")),
        "fatal" => Err(JobError::msg("never").fatal()),
        "panics" => panic!("oh no"),
        "snoozes" if is_first => Err(JobError::snooze(Duration::from_millis(20))),
        "first never ends" if is_first => std::future::pending().await,
        "ends elsewhere" if std::env::var(CHILD).is_ok() => std::future::pending().await,
        "defers and fails" => {
            defer(Mail::new("child"));
            Err(JobError::msg("no"))
        }
        "slow" => {
            // It still runs when its worker is told to stop. Nothing tests how long it takes.
            tokio::time::sleep(Duration::from_millis(300)).await;
            Ok(())
        }
        "until cancelled" => {
            cx.cancelled().await;
            journal.lock().unwrap().push("told".to_owned());
            Err(JobError::msg("cancelled"))
        }
        _ => Ok(()),
    }
}

pub(crate) struct Service {
    folder: Arc<tempfile::TempDir>,
    pub(crate) url: String,
    pub(crate) queue: RiverQueue,
    pub(crate) runner: Runner,
    pub(crate) journal: Journal,
}

impl Service {
    pub(crate) async fn on_sqlite() -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let url = format!("sqlite:{}/jobs.db", folder.path().display());
        Self::new(folder, url, Journal::default()).await
    }

    /// In a database of its own.
    #[cfg(feature = "_servers")]
    pub(crate) async fn on_postgres() -> Self {
        Self::at(&create_database().await, Journal::default()).await
    }

    /// Returns the URL of an empty database.
    pub(crate) async fn fresh(&self) -> String {
        #[cfg(feature = "_servers")]
        if self.url.starts_with("postgres") {
            return create_database().await;
        }
        format!("sqlite:{}/fresh.db", self.folder.path().display())
    }

    async fn new(folder: Arc<tempfile::TempDir>, url: String, journal: Journal) -> Self {
        let queue = RiverQueue::connect(&url).await.unwrap();
        let runner = Runner::builder().state(journal.clone()).queue(queue.clone()).build();
        Self { folder, url, queue, runner, journal }
    }

    /// In a database that is there.
    pub(crate) async fn at(url: &str, journal: Journal) -> Self {
        Self::new(Arc::new(tempfile::tempdir().unwrap()), url.to_owned(), journal).await
    }

    /// Another process, which shares nothing with this one except the database and, as a test's way to look, the journal.
    pub(crate) async fn elsewhere(&self) -> Self {
        Self::new(self.folder.clone(), self.url.clone(), self.journal.clone()).await
    }

    pub(crate) fn worker(&self) -> Worker {
        self.queue.worker(self.runner.clone()).job::<Mail>().job::<Sync>()
    }

    /// Runs jobs until nothing is left.
    pub(crate) async fn work_off(&self) {
        let working = self.worker().run_until_empty();
        tokio::time::timeout(PATIENCE, working).await.expect("nothing is left in time").unwrap();
    }

    /// Executes a statement by its text for SQLite, or by that for Postgres.
    pub(crate) async fn execute(&self, sqlite: &str, postgres: &str) {
        use defer_river::sqlx::{AssertSqlSafe, Connection, SqliteConnection, raw_sql};
        #[cfg(feature = "_servers")]
        if self.url.starts_with("postgres") {
            let mut connection = defer_river::sqlx::PgConnection::connect(&self.url).await.unwrap();
            raw_sql(AssertSqlSafe(postgres.to_owned())).execute(&mut connection).await.unwrap();
            return;
        }
        let _ = postgres;
        let mut connection = SqliteConnection::connect(&self.url).await.unwrap();
        raw_sql(AssertSqlSafe(sqlite.to_owned())).execute(&mut connection).await.unwrap();
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.journal.lock().unwrap().clone()
    }

    pub(crate) fn sorted(&self) -> Vec<String> {
        let mut lines = self.lines();
        lines.sort();
        lines
    }
}

#[cfg(feature = "_servers")]
async fn create_database() -> String {
    use defer_river::sqlx::{AssertSqlSafe, Connection, PgConnection, query};
    let server = std::env::var("DEFER_TEST_POSTGRES").expect("run this by scripts/with-servers.sh");
    let name = format!("test_{}", JobId::unique()).to_lowercase();
    let mut connection = PgConnection::connect(&format!("{server}/postgres")).await.unwrap();
    query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await.unwrap();
    format!("{server}/{name}")
}

pub(crate) trait Inspected {
    async fn inspect_job(&self, id: JobId) -> QueuedJob;
}

impl Inspected for RiverQueue {
    async fn inspect_job(&self, id: JobId) -> QueuedJob {
        self.inspect().unwrap().job(id).await.unwrap().unwrap()
    }
}

pub(crate) async fn until(mut what: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !what().await {
        assert!(begun.elapsed() < PATIENCE, "waited in vain");
        // Polled: a queue notifies nobody of its changes.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
