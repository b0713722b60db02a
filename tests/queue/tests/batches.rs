//! Durable jobs that run in batches.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use defer_axum::{defer, scope};
use defer_queue_tests::{
    backend::{Backend, on_each},
    client::Client,
    jobs::Together,
    program::Program,
    service::{Serves, Service},
    waiting::{until, until_lines},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_defer-queue-program");

fn numbers() -> String {
    format!("{:?}", (0..20).collect::<Vec<u32>>())
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_many_requests_run_together_and_their_ends_share_a_commit() {
    on_each(async |backend| {
        let service = Service::on(backend).await;
        let works = service.works();
        for number in 0..19 {
            scope(&service.runner, async { defer(Together { number }) }).await;
        }
        until("they wait for their batch", async || service.runner.stats().pending == 19).await;
        let last = scope(&service.runner, async { defer(Together { number: 19 }) });
        last.await;
        service.place.until_number("SELECT count(*) FROM defer_jobs WHERE state = 3", 20).await;
        assert_eq!(service.log.lines(), [numbers()]);
        let commits = match backend {
            // The time of the statement.
            Backend::Sqlite => "SELECT count(DISTINCT ended) FROM defer_jobs",
            Backend::Postgres => "SELECT count(DISTINCT xmin::text) FROM defer_jobs",
        };
        let commits = service.place.number(commits).await;
        assert!(commits <= 3, "{commits} commits for one batch");
        works.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_one_process_defers_run_together_in_another() {
    on_each(async |backend| {
        let service = Service::on(backend).await;
        let serves = Serves::without_worker(&service).await;
        let log = service.place.log_named("other");
        let _works = Program::start(PROGRAM, "work", &service.place.url, &log).await;
        let mut client = Client::connect(serves.address).await.unwrap();
        for number in 0..20 {
            assert_eq!(client.post(&format!("/together/{number}")).await.unwrap(), 200);
        }
        until_lines(&log, 1).await;
        assert_eq!(log.lines(), [numbers()]);
        service.until_idle().await;
        assert_eq!(service.counts().await, [0, 0, 20, 0]);
        serves.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_wait_for_their_batch_when_their_process_is_killed_run_in_another() {
    on_each(async |backend| {
        let place = backend.place().await;
        let killed_log = place.log_named("killed");
        let mut killed = Program::start(PROGRAM, "serve", &place.url, &killed_log).await;
        let mut client = Client::connect(killed.address()).await.unwrap();
        for number in 0..15 {
            assert_eq!(client.post(&format!("/together/{number}")).await.unwrap(), 200);
        }
        killed.kill();
        let service = Service::at(&place, "log").await;
        let works = service.works();
        for number in 15..20 {
            scope(&service.runner, async { defer(Together { number }) }).await;
        }
        // Once the first process has been declared dead.
        until_lines(&service.log, 1).await;
        assert_eq!(service.log.lines(), [numbers()]);
        assert!(killed_log.lines().is_empty());
        service.until_idle().await;
        assert_eq!(service.counts().await, [0, 0, 20, 0]);
        works.stop().await;
    })
    .await;
}
