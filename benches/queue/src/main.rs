//! Acknowledged requests per second with a queued job, beside a handler that stores one row by itself and beside a task that
//! is pushed to apalis by hand; and how long a job waits from its acknowledgement to its start.
//!
//! ```sh
//! scripts/with-servers.sh cargo run --release -p defer-queue-benches
//! ```
//!
//! With the name of a storage as its argument, it measures that one alone.

#![allow(clippy::unwrap_used, reason = "a benchmark")]

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use apalis_core::task::builder::TaskBuilder;
use axum::{
    Router,
    extract::{Path, State},
    routing::post,
};
use defer_apalis::ApalisQueue;
use defer_axum::{DeferLayer, Deferrable, Job, JobContext, JobResult, Runner};
use redis::AsyncCommands;
use serde::{Deserialize, Serialize};
use sqlx::{
    PgPool, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const LASTS: Duration = Duration::from_secs(4);
const ROUNDS: usize = 3;

/// When each job started.
type Starts = Arc<Mutex<HashMap<u64, Instant>>>;

#[derive(Deferrable, Serialize, Deserialize)]
#[defer(queue)]
struct Note {
    number: u64,
}

impl Job for Note {
    async fn run(&self, cx: &JobContext) -> JobResult {
        cx.state::<Starts>()?.lock().unwrap().insert(self.number, Instant::now());
        Ok(())
    }
}

/// A database, as a handler uses it by itself.
#[derive(Clone)]
enum Floor {
    Sqlite(SqlitePool),
    Postgres(PgPool),
    Redis(redis::aio::ConnectionManager),
}

impl Floor {
    /// Stores one row.
    async fn row(&self, number: u64) {
        #[allow(clippy::cast_possible_wrap, reason = "small numbers")]
        let number = number as i64;
        const INSERT: &str = "INSERT INTO rows (number) VALUES ($1)";
        match self {
            Self::Sqlite(pool) => drop(sqlx::query(INSERT).bind(number).execute(pool).await.unwrap()),
            Self::Postgres(pool) => drop(sqlx::query(INSERT).bind(number).execute(pool).await.unwrap()),
            Self::Redis(connection) => {
                connection.clone().set::<_, _, ()>(format!("row:{number}"), number).await.unwrap();
            }
        }
    }

    /// Pushes one task, as apalis' own sink does.
    async fn task(&self, number: u64) {
        let task = TaskBuilder::new(number.to_string().into_bytes()).build();
        match self {
            Self::Sqlite(pool) => {
                let mut tx = pool.begin().await.unwrap();
                apalis_sqlite::queries::push_tasks(&mut *tx, "by-hand", &[task]).await.unwrap();
                tx.commit().await.unwrap();
            }
            Self::Postgres(pool) => {
                let mut tx = pool.begin().await.unwrap();
                apalis_postgres::queries::push_tasks(&mut *tx, "by-hand", vec![task]).await.unwrap();
                tx.commit().await.unwrap();
            }
            Self::Redis(connection) => {
                let config = apalis_redis::Config::default().queue("by-hand");
                apalis_redis::queries::push_tasks(&mut connection.clone(), &config, &[task]).await.unwrap();
            }
        }
    }
}

async fn serve(floor: Floor, runner: Runner) -> SocketAddr {
    let app = Router::new()
        .route(
            "/row/{n}",
            post(async |State(floor): State<Floor>, Path(n): Path<u64>| {
                floor.row(n).await;
                "ok"
            }),
        )
        .route(
            "/task/{n}",
            post(async |State(floor): State<Floor>, Path(n): Path<u64>| {
                floor.task(n).await;
                "ok"
            }),
        )
        .route(
            "/job/{n}",
            post(async |Path(n): Path<u64>| {
                Note::defer(n);
                "ok"
            }),
        )
        .layer(DeferLayer::new(runner.clone()))
        .with_state(floor);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { defer_axum::serve(listener, app, runner).await.unwrap() });
    address
}

/// Makes requests on one connection until the time is over. Returns when each was acknowledged.
async fn client(
    address: SocketAddr,
    path: &str,
    next: &AtomicU64,
    until: Instant,
    pause: Duration,
) -> Vec<(u64, Instant)> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut acknowledged, mut part) = (Vec::new(), [0; 1024]);
    while Instant::now() < until {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let request = format!("POST /{path}/{number} HTTP/1.1\r\nhost: bench\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nok") {
            let read = stream.read(&mut part).await.unwrap();
            assert!(read > 0, "the server answers");
            answer.extend_from_slice(&part[..read]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "the server is well");
        acknowledged.push((number, Instant::now()));
        tokio::time::sleep(pause).await;
    }
    acknowledged
}

async fn load(
    address: SocketAddr,
    path: &'static str,
    connections: usize,
    next: &Arc<AtomicU64>,
    pause: Duration,
) -> Vec<(u64, Instant)> {
    let until = Instant::now() + LASTS;
    let clients: Vec<_> = (0..connections)
        .map(|_| {
            let next = next.clone();
            tokio::spawn(async move { client(address, path, &next, until, pause).await })
        })
        .collect();
    let mut acknowledged = Vec::new();
    for client in clients {
        acknowledged.extend(client.await.unwrap());
    }
    acknowledged
}

async fn measure(name: &str, url: &str, floor: Floor) {
    let queue = ApalisQueue::connect(url).await.unwrap();
    let starts = Starts::default();
    let runner = Runner::builder().state(starts.clone()).queue(queue.clone()).build();
    let address = serve(floor, runner.clone()).await;
    let next = Arc::new(AtomicU64::new(0));
    for connections in [1, 32] {
        // In turn, so that what disturbs the machine disturbs each.
        let mut rates: HashMap<&str, Vec<f64>> = HashMap::new();
        for _ in 0..ROUNDS {
            for path in ["row", "task", "job"] {
                let count = load(address, path, connections, &next, Duration::ZERO).await.len();
                #[allow(clippy::cast_precision_loss, reason = "small numbers")]
                rates.entry(path).or_default().push(count as f64 / LASTS.as_secs_f64());
            }
        }
        let median = |path: &str| {
            let mut rates = rates[path].clone();
            rates.sort_by(f64::total_cmp);
            rates[ROUNDS / 2]
        };
        let (row, task, job) = (median("row"), median("task"), median("job"));
        println!("| {name} | {connections} | {row:.0} | {task:.0} | {job:.0} | {:.1} |", job / row);
    }
    // What was pushed has to be gone before a job's wait is measured.
    let worker =
        tokio::spawn(queue.worker(runner).job::<Note>().concurrency(256).run_until(std::future::pending()));
    while queue.counts().await.unwrap().pending > 0 {
        // Polled: a queue does not tell when it is empty.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let acknowledged = load(address, "job", 1, &next, Duration::from_millis(10)).await;
    // The last jobs start within the worker's poll of half a second; one that has not panics below.
    tokio::time::sleep(Duration::from_secs(1)).await;
    worker.abort();
    let starts = starts.lock().unwrap();
    let mut waits: Vec<Duration> =
        acknowledged.iter().map(|(number, at)| starts[number].saturating_duration_since(*at)).collect();
    waits.sort();
    let (half, nearly_all) = (waits[waits.len() / 2], waits[waits.len() * 99 / 100]);
    println!(
        "| {name} | start after acknowledgement | p50 {half:.1?} | p99 {nearly_all:.1?} | {} jobs | |",
        waits.len()
    );
}

#[tokio::main]
async fn main() {
    println!(
        "| storage | connections | one row by itself, 1/s | apalis by hand, 1/s | queued job, 1/s | job / row |"
    );
    println!("|---|--:|--:|--:|--:|--:|");
    let only = std::env::args().nth(1);
    let wanted = |storage: &str| only.as_deref().is_none_or(|only| only == storage);
    if wanted("SQLite") {
        sqlite().await;
    }
    if let Some(server) = std::env::var("DEFER_TEST_POSTGRES").ok().filter(|_| wanted("Postgres")) {
        let url = format!("{server}/postgres");
        drop(ApalisQueue::connect(&url).await.unwrap());
        let pool = PgPool::connect(&url).await.unwrap();
        sqlx::query("CREATE TABLE rows (number bigint)").execute(&pool).await.unwrap();
        measure("Postgres", &url, Floor::Postgres(pool)).await;
    }
    if let Some(url) = std::env::var("DEFER_TEST_REDIS").ok().filter(|_| wanted("Redis")) {
        let client = redis::Client::open(&*url).unwrap();
        let connection = redis::aio::ConnectionManager::new(client).await.unwrap();
        measure("Redis", &url, Floor::Redis(connection)).await;
    }
}

async fn sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("queue.db");
    let url = format!("sqlite:{}", file.display());
    drop(ApalisQueue::connect(&url).await.unwrap());
    let options = SqliteConnectOptions::new()
        .filename(&file)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(30));
    let pool = SqlitePoolOptions::new().max_connections(8).connect_with(options).await.unwrap();
    sqlx::query("CREATE TABLE rows (number INTEGER)").execute(&pool).await.unwrap();
    measure("SQLite", &url, Floor::Sqlite(pool)).await;
}
