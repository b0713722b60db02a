//! A service that is killed: `defer-queue-program WHAT URL LOG`.

#![allow(clippy::unwrap_used, reason = "this is a test")]

use axum::{Router, extract::Path, routing::post};
use defer_apalis::ApalisQueue;
use defer_axum::{DeferLayer, Runner};
use defer_queue_tests::{
    jobs::{Crash, Hangs, Log, Meets, Note, Parent},
    waiting::PATIENCE,
};

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().expect("WHAT URL LOG");
    let (what, url, log) = (next(), next(), Log(next().into()));
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .init();
    match what.as_str() {
        "serve" => serve(&url, log).await,
        "work" => work(&url, log).await,
        "commit" => commit(&url, true).await,
        "roll-back" => commit(&url, false).await,
        what => panic!("{what}?"),
    }
}

/// Acknowledges requests, each with a job, and runs the jobs too.
async fn serve(url: &str, log: Log) {
    let queue = ApalisQueue::connect(url).await.unwrap();
    // What is acknowledged is in the queue.
    let runner = Runner::builder().state(log).queue(queue.clone()).push_timeout(PATIENCE).build();
    let worker = queue.worker(runner.clone()).job::<Note>().job::<Parent>();
    tokio::spawn(worker.run_until(std::future::pending()));
    let note = post(async |Path(number): Path<u32>| {
        // One in two by another job.
        if number % 2 == 0 {
            Note::defer(number);
        } else {
            Parent::defer(number);
        }
        "ok"
    });
    let app = Router::new().route("/{number}", note).layer(DeferLayer::new(runner.clone()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    defer_axum::serve(listener, app, runner).await.unwrap();
}

async fn work(url: &str, log: Log) {
    let queue = ApalisQueue::connect(url).await.unwrap();
    let runner = Runner::builder().state(log).queue(queue.clone()).build();
    let worker = queue.worker(runner).job::<Note>().job::<Meets>().job::<Crash>().job::<Hangs>();
    println!("works");
    worker.run_until(std::future::pending()).await.unwrap();
}

/// Stores a job in a transaction, and is dead at once.
async fn commit(url: &str, commits: bool) {
    use defer_apalis::sqlx;
    if url.starts_with("sqlite") {
        let pool = sqlx::SqlitePool::connect(url).await.unwrap();
        let queue = ApalisQueue::sqlite(pool.clone()).await.unwrap();
        let mut tx = pool.begin().await.unwrap();
        queue.push_in(&mut tx, Note { number: 1 }).await.unwrap();
        queue.push_many_in(&mut tx, [Note { number: 2 }, Note { number: 3 }]).await.unwrap();
        if commits {
            tx.commit().await.unwrap();
        }
    } else {
        #[cfg(feature = "servers")]
        {
            let pool = sqlx::PgPool::connect(url).await.unwrap();
            let queue = ApalisQueue::postgres(pool.clone()).await.unwrap();
            let mut tx = pool.begin().await.unwrap();
            queue.push_in(&mut tx, Note { number: 1 }).await.unwrap();
            queue.push_many_in(&mut tx, [Note { number: 2 }, Note { number: 3 }]).await.unwrap();
            if commits {
                tx.commit().await.unwrap();
            }
        }
    }
    std::process::abort()
}
