//! A service for tests to stop and kill: `defer-queue-program WHAT URL LOG`.

#![allow(clippy::unwrap_used, reason = "this is a test")]

use defer_queue_tests::{
    jobs::{Log, Note},
    service::{all_types, app, runner},
};
use defer_sqlx::SqlxQueue;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().expect("WHAT URL LOG");
    let (what, url, log) = (next(), next(), Log(next().into()));
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .init();
    let queue = SqlxQueue::connect(&url).await.unwrap();
    let runner = runner(&queue, &log).build();
    let mut end = signal(SignalKind::terminate()).unwrap();
    let end = async move {
        let _ = end.recv().await;
    };
    match what.as_str() {
        "serve" | "serve-only" => {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let app = app(&runner, &log);
            let mut serve =
                defer_axum::serve(listener, app).drain(runner.clone()).with_graceful_shutdown(end);
            if what == "serve" {
                serve = serve.with_worker(all_types(queue.worker(runner.clone())));
            }
            println!("works\n{address}");
            serve.await.unwrap();
            log.note("ended");
            // A job that is not stored by now never will be.
            std::process::exit(0);
        }
        "work" => {
            let worker = all_types(queue.worker(runner.clone()));
            println!("works");
            worker.run_until(end).await.unwrap();
        }
        "commit" | "roll-back" => {
            let commits = what == "commit";
            println!("works");
            if url.starts_with("sqlite") {
                let pool = defer_sqlx::sqlx::SqlitePool::connect(&url).await.unwrap();
                let mut tx = pool.begin().await.unwrap();
                queue.push_in(&mut tx, Note { number: 1 }).await.unwrap();
                if commits {
                    tx.commit().await.unwrap();
                }
            } else {
                let pool = defer_sqlx::sqlx::PgPool::connect(&url).await.unwrap();
                let mut tx = pool.begin().await.unwrap();
                queue.push_in(&mut tx, Note { number: 1 }).await.unwrap();
                if commits {
                    tx.commit().await.unwrap();
                }
            }
            std::process::abort()
        }
        what => panic!("{what}?"),
    }
}
