//! Durable jobs, from their deferral to their end: on SQLite, and on the Postgres server of `DEFER_TEST_POSTGRES` if that is set.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use defer_core::{
    Deferrable, Delivery, Job, JobContext, JobError, JobId, JobResult, JobStatus, Policy, ResponseInfo,
    Runner, Scope, defer, queue::Queue, scope,
};
use defer_sqlx::SqlxQueue;
use http::StatusCode;
use serde::{Deserialize, Serialize};

type Journal = Arc<Mutex<Vec<String>>>;

macro_rules! job {
    ($name:ident, $policy:expr) => {
        #[derive(Serialize, Deserialize)]
        struct $name {
            note: String,
            fails: bool,
        }

        impl Job for $name {
            async fn run(&self, cx: &JobContext) -> JobResult {
                let delivery = cx.response().map(|response| response.delivery().as_str()).unwrap_or("none");
                cx.state::<Journal>()?.lock().unwrap().push(format!(
                    "{} {} {delivery}",
                    self.note,
                    cx.attempt()
                ));
                if self.note == "slow" {
                    // It is still running when its worker is told to stop.
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
                if self.note == "waits" {
                    cx.set_progress("half")?;
                    cx.cancelled().await;
                    cx.state::<Journal>()?.lock().unwrap().push("told".to_owned());
                }
                if self.fails { Err(JobError::msg("no")) } else { Ok(()) }
            }
        }

        impl Deferrable for $name {
            const NAME: &'static str = stringify!($name);
            const POLICY: Policy = $policy;
            const ENCODE: Option<fn(&Self) -> Result<Vec<u8>, defer_core::BoxError>> =
                Some(|job| Ok(serde_json::to_vec(job)?));
            const DECODE: Option<fn(&[u8]) -> Result<Self, defer_core::BoxError>> =
                Some(|payload| Ok(serde_json::from_slice(payload)?));
        }
    };
}

job!(Mail, Policy::new().with_queue());

impl Mail {
    fn new(note: &str) -> Self {
        Self { note: note.to_owned(), fails: false }
    }
}

job!(
    Sync,
    Policy::new()
        .with_queue()
        .with_tries(2)
        .with_backoff(Duration::from_millis(50), Duration::from_millis(50))
);

struct Service {
    _folder: tempfile::TempDir,
    url: String,
    queue: SqlxQueue,
    runner: Runner,
    journal: Journal,
}

impl Service {
    async fn on_sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}/jobs.db", folder.path().display());
        Self::new(folder, url).await
    }

    /// In a database of its own.
    #[cfg(feature = "_servers")]
    async fn on_postgres() -> Self {
        use defer_sqlx::sqlx::{AssertSqlSafe, Connection, PgConnection, query};
        let server = std::env::var("DEFER_TEST_POSTGRES").expect("run this by scripts/with-servers.sh");
        let name = format!("test_{}", JobId::unique()).to_lowercase();
        let mut connection = PgConnection::connect(&format!("{server}/postgres")).await.unwrap();
        query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await.unwrap();
        Self::new(tempfile::tempdir().unwrap(), format!("{server}/{name}")).await
    }

    async fn new(folder: tempfile::TempDir, url: String) -> Self {
        let journal = Journal::default();
        let queue = SqlxQueue::connect(&url).await.unwrap();
        let runner = Runner::builder().state(journal.clone()).queue(queue.clone()).build();
        Self { _folder: folder, url, queue, runner, journal }
    }

    fn worker(&self) -> defer_sqlx::Worker {
        self.queue.worker(self.runner.clone()).job::<Mail>().job::<Sync>()
    }

    fn lines(&self) -> Vec<String> {
        self.journal.lock().unwrap().clone()
    }
}

/// The time limit for something that must happen. Only a failing test waits this long.
const PATIENCE: Duration = Duration::from_secs(60);

async fn until(mut what: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !what().await {
        assert!(begun.elapsed() < PATIENCE, "waited in vain");
        // Polls, because a queue notifies nobody.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn a_job_runs_here_after_its_response_and_its_end_is_stored(service: Service) {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let worker = tokio::spawn(service.worker().run_until(async { drop(stopped.await) }));
    until(async || service.queue.hold().unwrap().runs_here(service.runner.key(), "Mail")).await;
    let mut request = Scope::new(service.runner.clone());
    let id = request.enter(|| defer(Mail::new("a")).id());
    request.enter(|| defer(Mail::new("b")));
    request.list().unwrap().admit(Some(StatusCode::OK)).await;
    assert_eq!(service.queue.status(id).await.unwrap(), Some(JobStatus::Pending), "it is on disk");
    // Long enough for the jobs to run, if nothing kept them from it.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(service.lines().is_empty(), "its response is not over");
    request.release(Some(ResponseInfo::new(Delivery::Sent).with_status(Some(StatusCode::OK))));
    service.runner.idle().await;
    assert_eq!(service.lines(), ["a 1 sent", "b 1 sent"]);
    assert_eq!(service.queue.status(id).await.unwrap(), Some(JobStatus::Succeeded));
    let stats = service.runner.stats();
    assert_eq!((stats.deferred, stats.taken, stats.succeeded), (2, 0, 2));
    stop.send(()).unwrap();
    worker.await.unwrap().unwrap();
}

async fn a_worker_returns_once_the_ends_of_its_jobs_are_stored(service: Service) {
    let id = service.queue.push(Mail::new("slow")).await.unwrap();
    let journal = service.journal.clone();
    let runs = until(async move || !journal.lock().unwrap().is_empty());
    service.worker().run_until(runs).await.unwrap();
    assert_eq!(service.queue.status(id).await.unwrap(), Some(JobStatus::Succeeded));
}

async fn a_job_of_a_process_without_a_worker_goes_through_the_queue_with_its_outcome(service: Service) {
    let id = scope(&service.runner, async { defer(Mail::new("a")).id() }).await;
    service.runner.idle().await;
    assert!(service.lines().is_empty());
    service.worker().run_until_empty().await.unwrap();
    assert_eq!(service.lines(), ["a 1 none"]);
    assert_eq!(service.queue.status(id).await.unwrap(), Some(JobStatus::Succeeded));
    assert_eq!((service.runner.stats().queued, service.runner.stats().taken), (1, 1));
}

async fn a_failed_attempt_is_followed_by_another_through_the_queue_and_a_failed_job_can_be_retried_or_discarded(
    service: Service,
) {
    let id = scope(&service.runner, async { defer(Sync { note: "a".into(), fails: true }).id() }).await;
    service.worker().run_until_empty().await.unwrap();
    assert_eq!(service.lines(), ["a 1 none", "a 2 none"]);
    let failed = service.queue.failed(10).await.unwrap();
    assert_eq!((failed[0].id, failed[0].attempts, &*failed[0].error), (id, 2, "no"));
    assert!(service.queue.retry(id).await.unwrap());
    service.worker().run_until_empty().await.unwrap();
    assert_eq!(service.lines().len(), 4);
    assert!(service.queue.discard(id).await.unwrap());
    assert_eq!(service.queue.status(id).await.unwrap(), None);
}

async fn a_queue_that_ends_gives_back_what_it_holds_at_once(service: Service) {
    let mut request = Scope::new(service.runner.clone());
    request.enter(|| defer(Mail::new("a")));
    request.list().unwrap().admit(Some(StatusCode::OK)).await;
    let Service { url, queue, runner, _folder, journal } = service;
    drop((request, runner, queue));
    let queue = SqlxQueue::connect(&url).await.unwrap();
    let runner = Runner::builder().state(journal.clone()).queue(queue.clone()).build();
    // It has signed off at the latest when the next process looked.
    until(async || {
        queue.worker(runner.clone()).job::<Mail>().run_until_empty().await.unwrap();
        !journal.lock().unwrap().is_empty()
    })
    .await;
    assert_eq!(*journal.lock().unwrap(), ["a 1 unknown"]);
}

async fn a_queue_that_is_closed_leaves_its_jobs_to_others_and_its_runner_goes_on_in_memory(service: Service) {
    let worker = tokio::spawn(service.worker().run_until(std::future::pending()));
    until(async || service.queue.hold().unwrap().runs_here(service.runner.key(), "Mail")).await;
    let mut request = Scope::new(service.runner.clone());
    request.enter(|| defer(Mail::new("a")));
    request.list().unwrap().admit(Some(StatusCode::OK)).await;
    service.queue.close().await;
    service.queue.close().await;
    worker.await.unwrap().unwrap_err();
    service.queue.push(Mail::new("b")).await.unwrap_err();
    request.release(Some(ResponseInfo::new(Delivery::Sent).with_status(Some(StatusCode::OK))));
    scope(&service.runner, async { drop(defer(Mail::new("c"))) }).await;
    service.runner.idle().await;
    assert_eq!(service.lines(), ["c 1 none"], "others have the first");
    let queue = SqlxQueue::connect(&service.url).await.unwrap();
    let runner = Runner::builder().state(service.journal.clone()).queue(queue.clone()).build();
    queue.worker(runner).job::<Mail>().run_until_empty().await.unwrap();
    assert_eq!(service.lines(), ["c 1 none", "a 1 unknown"]);
}

async fn one_waits_of_those_with_a_unique_key_and_the_others_say_of_which_they_are_duplicates(
    service: Service,
) {
    let mut ids: Vec<JobId> = Vec::new();
    for note in ["a", "b"] {
        scope(&service.runner, async { ids.push(defer(Mail::new(note)).unique("k").id()) }).await;
        service.runner.idle().await;
    }
    let status = service.queue.status(ids[1]).await.unwrap();
    assert_eq!(status, Some(JobStatus::duplicate(ids[0])));
    service.worker().run_until_empty().await.unwrap();
    scope(&service.runner, async { defer(Mail::new("c")).unique("k") }).await;
    service.runner.idle().await;
    service.worker().run_until_empty().await.unwrap();
    assert_eq!(service.lines(), ["a 1 none", "c 1 none"]);
}

async fn a_job_is_cancelled_wherever_it_is(service: Service) {
    use defer_sqlx::Cancel;
    let other = SqlxQueue::connect(&service.url).await.unwrap();
    // Two jobs that this process holds: one is cancelled by this process, one by another.
    let mut request = Scope::new(service.runner.clone());
    let (held, asked) = request.enter(|| (defer(Mail::new("a")).id(), defer(Mail::new("b")).id()));
    request.list().unwrap().admit(Some(StatusCode::OK)).await;
    assert_eq!(service.queue.cancel(held).await.unwrap(), Cancel::Cancelled);
    assert_eq!(other.cancel(asked).await.unwrap(), Cancel::Asked);
    request.release(None);
    service.runner.idle().await;
    // A job that is waiting.
    let waits = service.queue.push(Mail::new("c")).delay(Duration::from_secs(3600)).await.unwrap();
    assert_eq!(other.cancel(waits).await.unwrap(), Cancel::Cancelled);
    assert_eq!(other.cancel(waits).await.unwrap(), Cancel::Ended);
    assert_eq!(other.cancel(JobId::unique()).await.unwrap(), Cancel::Unknown);
    service.worker().run_until_empty().await.unwrap();
    assert!(service.lines().is_empty());
    for id in [held, asked, waits] {
        assert_eq!(service.queue.status(id).await.unwrap(), Some(JobStatus::Cancelled));
    }
}

async fn a_client_of_another_process_follows_a_job_and_cancels_it(service: Service) {
    use defer_core::{Cancel, Progress};
    use futures_core::Stream;
    let other = Runner::builder().queue(SqlxQueue::connect(&service.url).await.unwrap()).build();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let worker = tokio::spawn(service.worker().run_until(async { drop(stopped.await) }));
    until(async || service.queue.hold().unwrap().runs_here(service.runner.key(), "Sync")).await;
    let job = || Sync { note: "waits".into(), fails: true };
    // One job that runs where it was deferred, and one that a worker takes.
    let deferred = scope(&service.runner, async { defer(job()).id() }).await;
    let pushed = service.queue.push(job()).await.unwrap();
    for id in [deferred, pushed] {
        let mut statuses = Box::pin(other.watch(id));
        let mut heard = Vec::new();
        loop {
            let next = std::future::poll_fn(|cx| statuses.as_mut().poll_next(cx));
            let next = tokio::time::timeout(PATIENCE, next).await;
            let Some(status) = next.expect("another status, or the end") else { break };
            if status == JobStatus::in_progress(Progress::from_json("\"half\"").unwrap()) {
                assert_eq!(other.cancel(id).await, Cancel::Asked);
            }
            heard.push(status.to_string());
        }
        assert!(heard.ends_with(&["running".to_owned(), "cancelled".to_owned()]), "{heard:?}");
        assert_eq!(other.cancel(id).await, Cancel::Ended);
    }
    drop(stop);
    worker.await.unwrap().unwrap();
    let mut lines = service.lines();
    lines.sort();
    assert_eq!(lines, ["told", "told", "waits 1 none", "waits 1 none"]);
    assert_eq!(service.runner.stats().cancelled, 2);
}

async fn a_paused_type_waits_and_priority_orders_the_others(service: Service) {
    for (note, priority) in [("low", -1), ("high", 9), ("usual", 0)] {
        service.queue.push(Mail::new(note)).priority(priority).await.unwrap();
    }
    service.queue.push(Sync { note: "paused".into(), fails: false }).await.unwrap();
    service.queue.pause("Sync").await.unwrap();
    let one_by_one = service.queue.worker(service.runner.clone()).job::<Mail>().concurrency(1);
    one_by_one.run_until_empty().await.unwrap();
    assert_eq!(service.lines(), ["high 1 none", "usual 1 none", "low 1 none"]);
    let counts = service.queue.counts().await.unwrap();
    assert_eq!((counts.pending, counts.done), (1, 3));
    service.queue.resume("Sync").await.unwrap();
    service.worker().run_until_empty().await.unwrap();
    assert_eq!(service.lines().len(), 4);
}

/// Runs each of these tests on each database.
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

scenarios! {
    a_job_runs_here_after_its_response_and_its_end_is_stored,
    a_worker_returns_once_the_ends_of_its_jobs_are_stored,
    a_job_of_a_process_without_a_worker_goes_through_the_queue_with_its_outcome,
    a_failed_attempt_is_followed_by_another_through_the_queue_and_a_failed_job_can_be_retried_or_discarded,
    a_queue_that_ends_gives_back_what_it_holds_at_once,
    a_queue_that_is_closed_leaves_its_jobs_to_others_and_its_runner_goes_on_in_memory,
    one_waits_of_those_with_a_unique_key_and_the_others_say_of_which_they_are_duplicates,
    a_job_is_cancelled_wherever_it_is,
    a_client_of_another_process_follows_a_job_and_cancels_it,
    a_paused_type_waits_and_priority_orders_the_others,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_due_before_its_worker_came_has_waited_since_then() {
    use defer_sqlx::sqlx::{Connection, SqliteConnection, query};
    let service = Service::on_sqlite().await;
    let waits = Arc::new(Mutex::new(Vec::new()));
    let seen = waits.clone();
    let runner = Runner::builder()
        .state(service.journal.clone())
        .queue(service.queue.clone())
        .on_event(move |event| seen.lock().unwrap().extend(event.wait()))
        .build();
    let began = Instant::now();
    service.queue.push(Mail::new("late")).await.unwrap();
    // As if no worker had run for 20 s.
    let mut connection = SqliteConnection::connect(&service.url).await.unwrap();
    query("UPDATE defer_jobs SET due = due - 20000").execute(&mut connection).await.unwrap();
    service.queue.worker(runner.clone()).job::<Mail>().run_until_empty().await.unwrap();
    runner.idle().await;
    let waits = waits.lock().unwrap().clone();
    // The queue counts in milliseconds, by a different clock.
    let (least, most) = (Duration::from_secs(20), Duration::from_secs(21) + began.elapsed());
    assert!(waits.len() == 2 && waits.iter().all(|wait| *wait >= least && *wait < most), "{waits:?}");
}
