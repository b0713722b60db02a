//! Debounced and throttled jobs across processes.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::time::Duration;

use defer_axum::{Deferred, JobId, JobStatus, scope};
use defer_queue_tests::{
    backend::on_each,
    jobs::{Note, Urgent},
    service::Service,
    waiting::{until, until_line},
};
use defer_sqlx::Error;

const HOUR: Duration = Duration::from_secs(3600);

/// Defers a job in a request of this service.
async fn request(service: &Service, defers: impl FnOnce() -> Deferred) -> JobId {
    scope(&service.runner, async { defers().id() }).await
}

async fn until_duplicate(service: &Service, id: JobId, of: JobId) {
    until("it leads to the job that runs", async || {
        service.status(id).await == Some(JobStatus::duplicate(of))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_of_two_processes_runs_once_when_the_first_would_have() {
    on_each(async |backend| {
        let place = backend.place().await;
        let [one, other] = [Service::at(&place, "log").await, Service::at(&place, "log").await];
        let mut ids = Vec::new();
        for number in 0..6 {
            let service = if number % 2 == 0 { &one } else { &other };
            let edit = || Note::defer(number).unique("index:42").replace().delay(Duration::from_secs(2));
            let id = request(service, edit).await;
            // The first response to end comes first.
            until("it is ready", async || service.runner.stats().queued == u64::from(number / 2 + 1)).await;
            ids.push(id);
        }
        for id in &ids[..5] {
            until_duplicate(&one, *id, ids[5]).await;
        }
        let works = (one.works(), other.works());
        one.until_succeeded(ids[5]).await;
        other.until_idle().await;
        assert_eq!(one.log.lines(), ["5"]);
        works.0.stop().await;
        works.1.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_is_waited_for_but_not_longer_than_the_maximum() {
    on_each(async |backend| {
        let place = backend.place().await;
        let [one, other] = [Service::at(&place, "log").await, Service::at(&place, "log").await];
        let works = one.works();
        let edit = |service: &Service, number, longest| {
            let job = service.queue.push(Note { number }).unique("index:42");
            job.replace_within(longest).delay(HOUR)
        };
        let first = edit(&one, 1, HOUR * 2).await.unwrap();
        let second = edit(&other, 2, HOUR * 2).await.unwrap();
        until_duplicate(&other, first, second).await;
        assert_eq!(one.status(second).await, Some(JobStatus::Pending), "it waits for an hour");
        // The maximum counts from the first job.
        let third = edit(&other, 3, Duration::from_millis(1)).await.unwrap();
        until_line(&one.log, "3").await;
        other.until_succeeded(third).await;
        assert_eq!(other.status(first).await, Some(JobStatus::duplicate(third)));
        assert_eq!(one.log.lines(), ["3"]);
        works.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_runs_in_one_of_two_processes_and_then_not_for_a_while() {
    on_each(async |backend| {
        let place = backend.place().await;
        let [one, other] = [Service::at(&place, "log").await, Service::at(&place, "log").await];
        let works = (one.works(), other.works());
        let mut ids = Vec::new();
        for number in 0..10 {
            let service = if number % 2 == 0 { &one } else { &other };
            ids.push(request(service, || Note::defer(number).at_most_every("scan", HOUR)).await);
        }
        // A job of another type with the same key, and one with another key.
        ids.push(request(&one, || Urgent::defer(10_u32).at_most_every("scan", HOUR)).await);
        let with_another_key = request(&one, || Note::defer(11).at_most_every("other", HOUR)).await;
        one.until_succeeded(with_another_key).await;
        one.until_idle().await;
        until("all are stored", async || {
            let statuses = ids.iter().map(async |id| one.status(*id).await.unwrap());
            let statuses = futures_util::future::join_all(statuses).await;
            statuses.iter().all(JobStatus::is_final)
        })
        .await;
        let mut started = Vec::new();
        for id in &ids {
            match other.status(*id).await.unwrap() {
                JobStatus::Succeeded => started.push(*id),
                JobStatus::Duplicate { of, .. } => assert!(ids.contains(&of)),
                status => panic!("{status:?}"),
            }
        }
        assert_eq!(started.len(), 1);
        assert_eq!(one.log.lines().len(), 2);
        for id in ids.iter().filter(|id| **id != started[0]) {
            assert_eq!(one.status(*id).await, Some(JobStatus::duplicate(started[0])));
        }
        works.0.stop().await;
        works.1.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_the_user_s_replaces_nothing_and_says_so() {
    on_each(async |backend| {
        let service = Service::on(backend).await;
        let url = &service.place.url;
        macro_rules! refused {
            ($pool:ty) => {{
                let pool = <$pool>::connect(url).await.unwrap();
                let mut transaction = pool.begin().await.unwrap();
                let job = || Note { number: 1 };
                let push = service.queue.push_in(&mut transaction, job()).unique("k").replace();
                assert!(matches!(push.await, Err(Error::NotInTransaction { option: "replace", .. })));
                let push = service.queue.push_in(&mut transaction, job()).at_most_every("k", HOUR);
                assert!(matches!(push.await, Err(Error::NotInTransaction { option: "at_most_every", .. })));
            }};
        }
        match backend {
            defer_queue_tests::backend::Backend::Sqlite => refused!(defer_sqlx::sqlx::SqlitePool),
            defer_queue_tests::backend::Backend::Postgres => refused!(defer_sqlx::sqlx::PgPool),
        }
    })
    .await;
}
