//! Durable jobs, from their deferral to their end: on SQLite, and on the Postgres of `DEFER_TEST_POSTGRES` where that is set.

#![cfg(feature = "sqlite")]
// Clippy allows `unwrap` in functions that are tests, but not in the helpers and jobs beside them.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[macro_use]
mod service;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use defer_core::{
    Cancel, Delivery, JobError, JobId, JobStatus, ResponseInfo, Runner, Scope, defer, defer_fn,
    event::JobEventKind, scope,
};
use defer_river::RiverQueue;
use http::StatusCode;

use self::service::{Inspected, Mail, Service, Sync, until};

fn ended(status: StatusCode) -> Option<ResponseInfo> {
    Some(ResponseInfo::new(Delivery::Sent).with_status(Some(status)))
}

/// Stores the jobs of a request, and returns while its response is on its way.
async fn answered(service: &Service, status: StatusCode, handler: impl FnOnce()) -> Scope {
    let mut request = Scope::new(service.runner.clone());
    request.enter(handler);
    request.list().unwrap().admit(Some(status)).await;
    request
}

async fn a_job_waits_for_its_response_and_a_worker_elsewhere_sees_how_it_ended(service: Service) {
    let mut id = None;
    let request = answered(&service, StatusCode::CREATED, || id = Some(defer(Mail::new("held")).id())).await;
    assert_eq!(service.queue.status(id.unwrap()).await.unwrap(), Some(JobStatus::Pending), "it is on disk");
    let other = service.elsewhere().await;
    other.queue.push(Mail::new("pushed")).await.unwrap();
    other.worker().run_until_empty().await.unwrap();
    assert_eq!(service.lines(), ["pushed 1 none"], "the response of the other is not over");
    request.release(ended(StatusCode::CREATED));
    service.runner.idle().await;
    other.worker().run_until_empty().await.unwrap();
    assert_eq!(service.lines(), ["pushed 1 none", "held 1 sent 201"]);
    assert_eq!(service.queue.status(id.unwrap()).await.unwrap(), Some(JobStatus::Succeeded));
    assert_eq!((service.runner.stats().queued, other.runner.stats().taken), (1, 2));
}

async fn the_jobs_of_a_request_start_in_their_order(service: Service) {
    let notes: Vec<_> = (0..20).map(|number| format!("job {number}")).collect();
    let request = answered(&service, StatusCode::OK, || {
        notes.iter().for_each(|note| drop(defer(Mail::new(note))));
    });
    request.await.release(ended(StatusCode::OK));
    service.runner.idle().await;
    service.worker().concurrency(1).run_until_empty().await.unwrap();
    let expected: Vec<_> = notes.iter().map(|note| format!("{note} 1 sent 200")).collect();
    assert_eq!(service.lines(), expected);
}

async fn a_condition_is_asked_when_the_response_is_over(service: Service) {
    let mut ids = Vec::new();
    let request = answered(&service, StatusCode::BAD_GATEWAY, || {
        ids.push(defer(Mail::new("on success")).on_success().id());
        ids.push(defer(Mail::new("when false")).when(|_| false).id());
        ids.push(defer(Mail::new("when true")).when(|response| response.status().is_some()).id());
    });
    request.await.release(ended(StatusCode::BAD_GATEWAY));
    service.runner.idle().await;
    service.worker().run_until_empty().await.unwrap();
    assert_eq!(service.lines(), ["when true 1 sent 502"]);
    let mut statuses = Vec::new();
    for id in ids {
        statuses.push(service.queue.status(id).await.unwrap().unwrap());
    }
    assert_eq!(statuses, [JobStatus::Skipped, JobStatus::Skipped, JobStatus::Succeeded]);
}

async fn a_failed_attempt_is_followed_by_another_and_a_failed_job_can_be_retried_or_discarded(
    service: Service,
) {
    let id = service.queue.push(Sync::new("fails")).await.unwrap();
    service.worker().run_until_empty().await.unwrap();
    assert_eq!(service.lines(), ["fails 1 none", "fails 2 none"]);
    let failed = service.queue.failed(10).await.unwrap();
    // With a NUL, which Postgres refuses.
    assert_eq!((failed[0].id, failed[0].attempts, &*failed[0].error), (id, 2, "no\u{fffd}"));
    assert!(service.queue.retry(id).await.unwrap());
    service.worker().run_until_empty().await.unwrap();
    assert_eq!(service.lines().len(), 4, "it has all its attempts again");
    assert!(service.queue.discard(id).await.unwrap());
    assert_eq!(service.queue.status(id).await.unwrap(), None);
}

async fn a_fatal_error_or_a_panic_of_the_last_attempt_ends_a_job(service: Service) {
    let fatal = service.queue.push(Sync::new("fatal")).await.unwrap();
    let panics = service.queue.push(Mail::new("panics")).await.unwrap();
    service.worker().run_until_empty().await.unwrap();
    assert_eq!(service.lines().len(), 2, "one attempt each: {:?}", service.lines());
    for (id, with) in [(fatal, "never"), (panics, "oh no")] {
        let status = service.queue.status(id).await.unwrap();
        let is_right = matches!(&status, Some(JobStatus::Failed { error, .. }) if error.contains(with));
        assert!(is_right, "{status:?}");
    }
}

async fn a_job_that_snoozes_runs_again_as_the_same_attempt(service: Service) {
    service.queue.push(Mail::new("snoozes")).await.unwrap();
    service.worker().run_until_empty().await.unwrap();
    assert_eq!(service.lines(), ["snoozes 1 none", "snoozes 1 none"]);
}

async fn one_waits_of_those_with_a_unique_key_and_the_others_say_of_which_they_are_duplicates(
    service: Service,
) {
    let mut ids: Vec<JobId> = Vec::new();
    for note in ["a", "b"] {
        scope(&service.runner, async { ids.push(defer(Mail::new(note)).unique("k").id()) }).await;
        service.runner.idle().await;
    }
    ids.push(service.queue.push(Mail::new("c")).unique("k").await.unwrap());
    for id in &ids[1..] {
        let status = service.queue.status(*id).await.unwrap();
        assert_eq!(status, Some(JobStatus::duplicate(ids[0])));
    }
    service.queue.push(Mail::new("other")).unique("another").await.unwrap();
    service.worker().run_until_empty().await.unwrap();
    service.queue.push(Mail::new("later")).unique("k").await.unwrap();
    service.worker().run_until_empty().await.unwrap();
    assert_eq!(service.sorted(), ["a 1 none", "later 1 none", "other 1 none"]);
}

async fn those_with_a_unique_key_that_come_at_once_leave_one(service: Service) {
    let other = service.elsewhere().await;
    let mut tasks = Vec::new();
    for number in 0..20 {
        let queue = if number % 2 == 0 { service.queue.clone() } else { other.queue.clone() };
        let runner = Runner::builder().queue(queue).build();
        tasks.push(tokio::spawn(async move {
            scope(&runner, async { drop(defer(Mail::new("one")).unique("k")) }).await;
            runner.idle().await;
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    service.worker().run_until_empty().await.unwrap();
    assert_eq!(service.lines(), ["one 1 none"]);
}

async fn a_delayed_job_does_not_start_before_its_time(service: Service) {
    let delay = Duration::from_millis(1500);
    let began = Instant::now();
    service.queue.push(Mail::new("late")).delay(delay).await.unwrap();
    service.queue.push(Mail::new("soon")).await.unwrap();
    service.worker().run_until_empty().await.unwrap();
    assert_eq!(service.lines(), ["soon 1 none", "late 1 none"]);
    // The database counts in milliseconds, by another clock.
    assert!(began.elapsed() + Duration::from_millis(5) >= delay, "it was not waited for");
}

async fn higher_priorities_are_taken_first(service: Service) {
    for (note, priority) in [("low", -1), ("high", 9), ("usual", 0)] {
        service.queue.push(Mail::new(note)).priority(priority).await.unwrap();
    }
    service.worker().concurrency(1).run_until_empty().await.unwrap();
    assert_eq!(service.lines(), ["high 1 none", "usual 1 none", "low 1 none"]);
}

async fn a_paused_type_waits_until_it_is_resumed(service: Service) {
    let waits = service.queue.push(Sync::new("paused")).await.unwrap();
    service.queue.pause("Sync").await.unwrap();
    service.queue.push(Sync::new("pushed later")).await.unwrap();
    service.queue.push(Mail::new("goes on")).await.unwrap();
    service.worker().run_until_empty().await.unwrap();
    assert_eq!(service.lines(), ["goes on 1 none"]);
    let counts = service.queue.counts().await.unwrap();
    assert_eq!((counts.pending, counts.done), (2, 1));
    assert_eq!(service.queue.status(waits).await.unwrap(), Some(JobStatus::Pending));
    service.queue.resume("Sync").await.unwrap();
    service.worker().run_until_empty().await.unwrap();
    assert_eq!(service.sorted(), ["goes on 1 none", "paused 1 none", "pushed later 1 none"]);
}

async fn a_job_is_cancelled_wherever_it_is(service: Service) {
    let other = service.elsewhere().await;
    let mut held = None;
    let request = answered(&service, StatusCode::OK, || held = Some(defer(Mail::new("held")).id())).await;
    assert_eq!(other.queue.cancel(held.unwrap()).await.unwrap(), Cancel::Cancelled);
    request.release(ended(StatusCode::OK));
    service.runner.idle().await;
    let waits = service.queue.push(Mail::new("waits")).delay(Duration::from_secs(3600)).await.unwrap();
    assert_eq!(other.queue.cancel(waits).await.unwrap(), Cancel::Cancelled);
    assert_eq!(other.queue.cancel(waits).await.unwrap(), Cancel::Ended);
    assert_eq!(other.queue.cancel(JobId::unique()).await.unwrap(), Cancel::Unknown);
    let runs = service.queue.push(Mail::new("until cancelled")).await.unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let worker = tokio::spawn(service.worker().run_until(async { drop(stopped.await) }));
    until(async || !service.lines().is_empty()).await;
    // Asked again: a client of River's hears nothing before its listener is connected.
    until(async || {
        other.queue.cancel(runs).await.unwrap() != Cancel::Asked
            && service.queue.status(runs).await.unwrap() == Some(JobStatus::Cancelled)
    })
    .await;
    drop(stop);
    worker.await.unwrap().unwrap();
    assert_eq!(service.lines(), ["until cancelled 1 none", "told"]);
    for id in [held.unwrap(), waits] {
        assert_eq!(service.queue.status(id).await.unwrap(), Some(JobStatus::Cancelled));
    }
    assert_eq!(service.runner.stats().cancelled, 1);
}

async fn a_worker_that_stops_waits_for_its_jobs(service: Service) {
    let id = service.queue.push(Mail::new("slow")).await.unwrap();
    let journal = service.journal.clone();
    let runs = until(async move || !journal.lock().unwrap().is_empty());
    service.worker().run_until(runs).await.unwrap();
    assert_eq!(service.queue.status(id).await.unwrap(), Some(JobStatus::Succeeded));
}

async fn a_job_that_a_worker_has_to_stop_is_no_attempt_and_others_run_it(service: Service) {
    let id = service.queue.push(Mail::new("first never ends")).await.unwrap();
    let journal = service.journal.clone();
    let runs = until(async move || !journal.lock().unwrap().is_empty());
    service.worker().drain_timeout(Duration::ZERO).run_until(runs).await.unwrap();
    assert_eq!(service.queue.status(id).await.unwrap(), Some(JobStatus::Pending));
    service.worker().run_until_empty().await.unwrap();
    assert_eq!(service.lines(), ["first never ends 1 none", "first never ends 1 none"]);
    assert_eq!(service.queue.status(id).await.unwrap(), Some(JobStatus::Succeeded));
}

async fn what_river_cannot_store_runs_here_and_the_others_of_its_request_are_durable(service: Service) {
    let failures = Arc::new(Mutex::new(Vec::new()));
    let seen = failures.clone();
    let runner = Runner::builder()
        .state(service.journal.clone())
        .queue(service.queue.clone())
        .on_event(move |event| {
            if let JobEventKind::QueueFailed { error, .. } = event.kind() {
                seen.lock().unwrap().push(error.to_string());
            }
        })
        .build();
    scope(&runner, async {
        defer(Mail::new("first"));
        defer(Mail::new("serial")).serial("k");
        defer(Mail::new(&"x".repeat(2 << 20)));
        defer(Mail::new("last"));
    })
    .await;
    runner.idle().await;
    assert_eq!(service.lines().len(), 2, "these two ran here");
    service.worker().concurrency(1).run_until_empty().await.unwrap();
    assert_eq!(service.lines()[2..], ["first 1 none", "last 1 none"]);
    let failures = failures.lock().unwrap().clone();
    assert!(failures.len() == 2 && failures[0].contains("serial keys"), "{failures:?}");
}

async fn a_job_in_memory_runs_beside_durable_ones(service: Service) {
    let journal = service.journal.clone();
    scope(&service.runner, async {
        defer(Mail::new("durable"));
        defer_fn(move |_| async move {
            journal.lock().unwrap().push("in memory".to_owned());
            Ok::<(), JobError>(())
        });
    })
    .await;
    service.runner.idle().await;
    assert_eq!(service.lines(), ["in memory"]);
    service.worker().run_until_empty().await.unwrap();
    assert_eq!(service.lines(), ["in memory", "durable 1 none"]);
}

async fn what_a_failing_job_defers_is_durable_too(service: Service) {
    service.queue.push(Sync::new("defers and fails")).await.unwrap();
    service.worker().run_until_empty().await.unwrap();
    service.worker().run_until_empty().await.unwrap();
    let lines = ["child 1 none", "child 1 none", "defers and fails 1 none", "defers and fails 2 none"];
    assert_eq!(service.sorted(), lines, "one child for each attempt");
}

async fn a_queue_that_is_closed_leaves_its_jobs_to_others_and_its_runner_goes_on_in_memory(service: Service) {
    let request = answered(&service, StatusCode::OK, || drop(defer(Mail::new("held")))).await;
    service.queue.close().await;
    service.queue.close().await;
    service.queue.push(Mail::new("refused")).await.unwrap_err();
    request.release(ended(StatusCode::OK));
    scope(&service.runner, async { drop(defer(Mail::new("here"))) }).await;
    service.runner.idle().await;
    assert_eq!(service.lines(), ["here 1 none"], "others have the first");
    let other = service.elsewhere().await;
    until(async || {
        other.worker().run_until_empty().await.unwrap();
        service.lines().len() > 1
    })
    .await;
    assert_eq!(service.lines(), ["here 1 none", "held 1 unknown 200"]);
}

async fn a_job_of_a_program_in_another_language_runs(service: Service) {
    // As any client of River's inserts it.
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Args {
        note: String,
    }
    impl defer_river::riverqueue::JobArgs for Args {
        const KIND: &'static str = "Mail";
    }
    service.queue.river().insert(Args { note: "from elsewhere".to_owned() }).await.unwrap();
    service.worker().run_until_empty().await.unwrap();
    assert_eq!(service.lines(), ["from elsewhere 1 none"]);
}

async fn a_type_that_no_worker_takes_waits_and_stops_no_other(service: Service) {
    let waits = service.queue.push(Sync::new("waits")).await.unwrap();
    service.queue.push(Mail::new("runs")).await.unwrap();
    service.queue.worker(service.runner.clone()).job::<Mail>().run_until_empty().await.unwrap();
    assert_eq!(service.lines(), ["runs 1 none"]);
    let job = service.queue.inspect_job(waits).await;
    assert_eq!((job.state.as_str(), job.attempts), ("ready", 0), "it was not taken");
}

async fn a_stored_job_that_cannot_be_read_waits_and_stops_no_other(service: Service) {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Args {
        note: u64,
    }
    impl defer_river::riverqueue::JobArgs for Args {
        const KIND: &'static str = "Mail";
    }
    let bad = service.queue.river().insert(Args { note: 1 }).await.unwrap().id();
    service.queue.push(Mail::new("good")).await.unwrap();
    let (river, journal) = (service.queue.river().clone(), service.journal.clone());
    let runs = until(async move || {
        let bad = river.jobs().get(bad).await.unwrap();
        !journal.lock().unwrap().is_empty() && bad.metadata.get::<u64>("snoozes").unwrap().is_some()
    });
    service.worker().run_until(runs).await.unwrap();
    let bad = service.queue.river().jobs().get(bad).await.unwrap();
    assert_eq!(
        (bad.attempt, bad.state.as_str(), bad.errors.len()),
        (0, "scheduled", 0),
        "that is no attempt"
    );
    assert_eq!(service.lines(), ["good 1 none"]);
}

async fn any_number_of_processes_create_the_tables_at_once(service: Service) {
    let url = service.fresh().await;
    let connects: Vec<_> = (0..8)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { RiverQueue::connect(&url).await.map(drop) })
        })
        .collect();
    for connect in connects {
        connect.await.unwrap().unwrap();
    }
}

scenarios! {
    a_job_waits_for_its_response_and_a_worker_elsewhere_sees_how_it_ended,
    the_jobs_of_a_request_start_in_their_order,
    a_condition_is_asked_when_the_response_is_over,
    a_failed_attempt_is_followed_by_another_and_a_failed_job_can_be_retried_or_discarded,
    a_fatal_error_or_a_panic_of_the_last_attempt_ends_a_job,
    a_job_that_snoozes_runs_again_as_the_same_attempt,
    one_waits_of_those_with_a_unique_key_and_the_others_say_of_which_they_are_duplicates,
    those_with_a_unique_key_that_come_at_once_leave_one,
    a_delayed_job_does_not_start_before_its_time,
    higher_priorities_are_taken_first,
    a_paused_type_waits_until_it_is_resumed,
    a_job_is_cancelled_wherever_it_is,
    a_worker_that_stops_waits_for_its_jobs,
    a_job_that_a_worker_has_to_stop_is_no_attempt_and_others_run_it,
    what_river_cannot_store_runs_here_and_the_others_of_its_request_are_durable,
    a_job_in_memory_runs_beside_durable_ones,
    what_a_failing_job_defers_is_durable_too,
    a_queue_that_is_closed_leaves_its_jobs_to_others_and_its_runner_goes_on_in_memory,
    a_job_of_a_program_in_another_language_runs,
    a_type_that_no_worker_takes_waits_and_stops_no_other,
    a_stored_job_that_cannot_be_read_waits_and_stops_no_other,
    any_number_of_processes_create_the_tables_at_once,
}

#[tokio::test]
async fn a_database_in_memory_is_refused_and_so_is_a_name_that_river_does_not_take() {
    RiverQueue::connect("sqlite::memory:").await.unwrap_err();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/jobs.db", folder.path().display());
    RiverQueue::builder().name("Not This").connect(&url).await.unwrap_err();
    RiverQueue::connect("mysql:nothing").await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_file_that_another_process_has_locked_is_waited_for() {
    use defer_river::sqlx::{Connection, SqliteConnection, query};
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/jobs.db", folder.path().display());
    let mut other = SqliteConnection::connect(&format!("{url}?mode=rwc")).await.unwrap();
    query("BEGIN EXCLUSIVE").execute(&mut other).await.unwrap();
    let connect = tokio::spawn(async move { RiverQueue::connect(&url).await });
    // Longer than the five seconds that SQLite itself waits, by its own clock. A slower machine only holds the lock for longer, and
    // the limit is 30 s.
    tokio::time::sleep(Duration::from_secs(6)).await;
    query("COMMIT").execute(&mut other).await.unwrap();
    connect.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_write_took_too_long_runs_here_and_nowhere_else() {
    use defer_river::sqlx::{Connection, SqliteConnection, query};
    let service = Service::on_sqlite().await;
    let runner = Runner::builder()
        .state(service.journal.clone())
        .queue(service.queue.clone())
        .push_timeout(Duration::from_millis(10))
        .build();
    let mut other = SqliteConnection::connect(&service.url).await.unwrap();
    query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let mut id = None;
    scope(&runner, async { id = Some(defer(Mail::new("locked")).id()) }).await;
    runner.idle().await;
    assert_eq!(service.lines(), ["locked 1 none"], "nobody could store it");
    query("ROLLBACK").execute(&mut other).await.unwrap();
    // What it wrote, it writes now.
    until(async || service.queue.status(id.unwrap()).await.unwrap() == Some(JobStatus::Succeeded)).await;
    service.worker().run_until_empty().await.unwrap();
    assert_eq!(service.lines(), ["locked 1 none"]);
}

#[tokio::test]
#[should_panic(expected = "two types of this worker are named `Mail`")]
async fn a_worker_has_no_two_types_of_one_name() {
    #[derive(defer_axum::Deferrable, serde::Serialize, serde::Deserialize)]
    #[defer(queue, name = "Other", alias = "Mail")]
    struct Other;
    impl defer_core::Job for Other {
        async fn run(&self, _: &defer_core::JobContext) -> defer_core::JobResult {
            Ok(())
        }
    }
    drop(Service::on_sqlite().await.worker().job::<Other>());
}

#[cfg(feature = "_servers")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_drops_all_connections_loses_no_job() {
    use defer_river::sqlx::{Connection, PgConnection, query};
    let service = Service::on_postgres().await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let worker = tokio::spawn(service.worker().run_until(async { drop(stopped.await) }));
    service.queue.push(Mail::new("before")).await.unwrap();
    until(async || service.lines().len() == 1).await;
    let request = answered(&service, StatusCode::OK, || drop(defer(Mail::new("held")))).await;
    let server = std::env::var("DEFER_TEST_POSTGRES").expect("run this by scripts/with-servers.sh");
    let mut connection = PgConnection::connect(&format!("{server}/postgres")).await.unwrap();
    let name = service.url.rsplit('/').next().unwrap();
    let drop_all =
        query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1").bind(name);
    drop_all.execute(&mut connection).await.unwrap();
    request.release(ended(StatusCode::OK));
    service.queue.push(Mail::new("after")).await.unwrap();
    until(async || service.lines().len() == 3).await;
    assert_eq!(service.sorted(), ["after 1 none", "before 1 none", "held 1 sent 200"]);
    drop(stop);
    worker.await.unwrap().unwrap();
}
