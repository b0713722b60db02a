//! Measures what a durable job costs a request, a worker and an idle process, on each database.
//!
//! ```sh
//! scripts/with-servers.sh cargo run --release -p defer-queue-benches
//! ```
//!
//! With the name of a database as an argument, `SQLite` or `Postgres`, it measures only that one. With `rates`, `waits`, `rows`,
//! `looks`, `idle` or `river` it prints only that table.

#![allow(clippy::unwrap_used, reason = "a benchmark")]

mod client;
mod place;
mod river;
mod service;

use std::time::{Duration, Instant};

use defer_axum::queue::{Envelope, JobFilter, Queue};
use defer_sqlx::SqlxQueue;

use crate::{
    place::Place,
    service::{Here, Path, Service},
};

const ROUNDS: usize = 3;
/// The number of done rows, and the number of waiting rows, in a database with many.
const MANY: u64 = 1_000_000;
const BACKLOG: u32 = 50_000;

#[tokio::main]
async fn main() {
    let measures = |table| wants(&["rates", "waits", "rows", "looks", "idle", "river"], table);
    if measures("rates") {
        print_rates().await;
    }
    if measures("waits") {
        print_waits().await;
    }
    if measures("rows") {
        print_rows().await;
    }
    if measures("looks") {
        print_looks().await;
    }
    if measures("idle") {
        print_idle().await;
    }
    if measures("river") {
        print_river().await;
    }
}

/// Returns whether to measure this: if it is among the arguments, or no argument is of its kind.
fn wants(kind: &[&str], what: &str) -> bool {
    let mut named = std::env::args().skip(1).filter(|argument| kind.contains(&&**argument)).peekable();
    named.peek().is_none() || named.any(|named| named == what)
}

async fn print_rates() {
    println!(
        "| database | connections | one row, 1/s | a job that runs here, 1/s | here / row | through the queue, 1/s | through / here |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|");
    for place in &places().await {
        for connections in [1, 32, 128] {
            rates(place, connections).await;
        }
    }
}

async fn print_waits() {
    println!("\n| database | from the response's end to the start, here | p50 | p99 |\n|---|--:|--:|--:|");
    for place in &places().await {
        let waits = Service::start(place).await.waits().await;
        let at = |part: usize| waits[waits.len() * part / 100];
        println!("| {} | {} jobs | {:.3?} | {:.3?} |", place.name(), waits.len(), at(50), at(99));
    }
}

async fn print_rows() {
    println!(
        "\n| database | rows | here, 32 connections, 1/s | a backlog of {BACKLOG}, 1/s | counts | a page's look |"
    );
    println!("|---|---|--:|--:|--:|--:|");
    for place in &places().await {
        filled(place, "few").await;
        place.fill(MANY).await;
        filled(place, "a million done, a million that wait").await;
    }
}

async fn print_looks() {
    println!("\n| database | rows | counts by name | processes | groups of failures | 20 jobs |");
    println!("|---|---|--:|--:|--:|--:|");
    for place in &places().await {
        looks(place, "few").await;
        place.fill_with(MANY, 0).await;
        looks(place, "a million done").await;
        place.fill_with(0, MANY).await;
        looks(place, "a million done, a million that wait").await;
    }
}

/// Measures the queries of those who look into the queue: a scrape, and the page.
async fn looks(place: &Place, rows: &str) {
    // There is one process, and it has run some jobs.
    let service = Service::start(place).await;
    service.rate(Path::Here, 32).await;
    let queue = &service.queue;
    let names = times(async || drop(queue.counts_by_name().await.unwrap())).await;
    let processes = times(async || drop(queue.holders().await.unwrap())).await;
    let failures = times(async || drop(queue.failures(20).await.unwrap())).await;
    let jobs = times(async || drop(queue.jobs(JobFilter::Ready, 20).await.unwrap())).await;
    let shown = [names, processes, failures, jobs]
        .map(|times| format!("{:.2?}, at most {:.2?}", times[times.len() / 2], times[times.len() - 1]));
    println!("| {} | {rows} | {} |", place.name(), shown.join(" | "));
}

async fn print_idle() {
    println!(
        "\n| database | an idle process and its worker | transactions a second | CPU |\n|---|---|--:|--:|"
    );
    for place in &places().await {
        idle(place).await;
    }
}

async fn print_river() {
    println!(
        "\n| database | connections | `defer-sqlx`, here, 1/s | `defer-sqlx`, through the queue, 1/s | `defer-river`, 1/s |"
    );
    println!("|---|--:|--:|--:|--:|");
    for place in &places().await {
        for connections in [1, 32, 128] {
            beside_river(place, connections).await;
        }
    }
}

/// Measures how many requests are answered in a second, with their jobs run and settled, by each queue in turn.
async fn beside_river(place: &Place, connections: usize) {
    let (service, on_river) = (Service::start(place).await, river::Service::start(place).await);
    let mut rates = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        rates[0].push(service.rate(Path::Here, connections).await);
        rates[1].push(service.rate(Path::Through, connections).await);
        rates[2].push(on_river.rate(connections).await);
    }
    let [here, through, river] = rates.map(median);
    println!("| {} | {connections} | {here:.0} | {through:.0} | {river:.0} |", place.name());
}

/// Creates an empty database of each wanted kind that is available.
async fn places() -> Vec<Place> {
    let wanted = |database| wants(&["SQLite", "Postgres"], database);
    let mut places = Vec::new();
    if wanted("SQLite") {
        places.push(Place::sqlite().await);
    }
    if let Some(server) = std::env::var("DEFER_TEST_POSTGRES").ok().filter(|_| wanted("Postgres")) {
        places.push(Place::postgres(&server).await);
    }
    places
}

/// Measures how many requests are answered per second, with their jobs run and settled.
async fn rates(place: &Place, connections: usize) {
    let service = Service::start(place).await;
    let mut rates = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        // In turn, so that disturbances affect all of them.
        for (path, rates) in [Path::Row, Path::Here, Path::Through].into_iter().zip(&mut rates) {
            rates.push(service.rate(path, connections).await);
        }
    }
    let [row, here, through] = rates.map(median);
    println!(
        "| {} | {connections} | {row:.0} | {here:.0} | {:.1} | {through:.0} | {:.2} |",
        place.name(),
        here / row,
        through / here
    );
}

/// Measures what many rows could slow down.
async fn filled(place: &Place, rows: &str) {
    let service = Service::start(place).await;
    let here = service.rate(Path::Here, 32).await;
    let backlog = backlog(place).await;
    let queue = &service.queue;
    let count = async || {
        queue.counts().await.unwrap();
    };
    let counts = median_time(count).await;
    let look = async || {
        queue.counts().await.unwrap();
        queue.failed(20).await.unwrap();
    };
    let look = median_time(look).await;
    println!("| {} | {rows} | {here:.0} | {backlog:.0} | {counts:.2?} | {look:.2?} |", place.name());
}

/// Measures how many trivial jobs per second a worker runs off a backlog.
async fn backlog(place: &Place) -> f64 {
    let queue = SqlxQueue::builder().name(format!("backlog {}", defer_axum::JobId::unique()));
    let queue = queue.connect(&place.url).await.unwrap();
    let jobs: Vec<Envelope> =
        (0..BACKLOG).map(|number| Envelope::of(&Here { number: number.into() }).unwrap()).collect();
    for jobs in jobs.chunks(1_000) {
        Queue::push(&queue, jobs.to_vec()).await.unwrap();
    }
    let runner = defer_axum::Runner::builder().queue(queue.clone()).build();
    let worker = queue.worker(runner).job::<Here>().concurrency(256);
    let begun = Instant::now();
    worker.run_until_empty().await.unwrap();
    f64::from(BACKLOG) / begun.elapsed().as_secs_f64()
}

/// Measures what an idle process does.
async fn idle(place: &Place) {
    const LASTS: Duration = Duration::from_secs(15);
    let queue = SqlxQueue::connect(&place.url).await.unwrap();
    let runner = defer_axum::Runner::builder().queue(queue.clone()).build();
    let worker = tokio::spawn(queue.worker(runner).job::<Here>().run_until(std::future::pending()));
    // Skips the costs of the start.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (transactions, cpu) = (place.transactions().await, cpu());
    tokio::time::sleep(LASTS).await;
    let cpu = (self::cpu() - cpu) / LASTS.as_secs_f64() * 100.0;
    let transactions = match (transactions, place.transactions().await) {
        (Some(before), Some(after)) => {
            #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52 transactions")]
            let rate = (after - before) as f64 / LASTS.as_secs_f64();
            format!("{rate:.1}")
        }
        _ => "not counted".to_owned(),
    };
    println!("| {} | {} s | {transactions} | {cpu:.2} % |", place.name(), LASTS.as_secs());
    worker.abort();
}

/// Returns the seconds of processor time that this process has used.
fn cpu() -> f64 {
    // User and system time, in hundredths of a second.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(") ").unwrap().1;
    let ticks = after_name.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap());
    ticks.sum::<f64>() / 100.0
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

async fn median_time(work: impl AsyncFn()) -> Duration {
    let times = times(work).await;
    times[times.len() / 2]
}

/// Returns the time of each run, in ascending order.
async fn times(work: impl AsyncFn()) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..21 {
        let begun = Instant::now();
        work().await;
        times.push(begun.elapsed());
    }
    times.sort();
    times
}
