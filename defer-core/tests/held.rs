//! Jobs that a queue holds: on disk before their response, run here after it, and settled.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::{
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use defer_core::{
    BoxError, BoxFuture, Cancel, Condition, Defer, Delivery, JobError, JobId, ResponseInfo, Runner, Scope,
    defer, defer_fn,
    queue::{
        End, Envelope, Hold, HoldJobs, Lease, Metadata, OnQueueFailure, Queue, Ready, Resume, Settle,
        Settled, Start, Stop,
    },
    scope,
};
use http::StatusCode;
use support::{
    Events, Journal, Kind, Plain, Queued, QueuedOnSuccess, QueuedTwice, SECOND, assert_all_accounted_for,
    noting,
};
use tokio::sync::{Notify, watch};

/// A queue that holds jobs. Records its calls in order, and answers as it is told.
#[derive(Clone)]
struct Holding(Arc<Shared>);

struct Shared {
    log: Journal,
    envelopes: Mutex<Vec<Envelope>>,
    /// The answer to holds: there is none while this is `None`.
    stored: watch::Sender<Option<Result<(), &'static str>>>,
    settled: watch::Sender<Option<Settled>>,
    start: Mutex<Poll<Start>>,
    stop: Mutex<Poll<Stop>>,
    /// The types that have a worker here.
    here: Mutex<Vec<&'static str>>,
    changed: Notify,
}

impl Holding {
    fn new() -> Self {
        Self(Arc::new(Shared {
            log: Journal::default(),
            envelopes: Mutex::default(),
            stored: watch::Sender::new(Some(Ok(()))),
            settled: watch::Sender::new(Some(Settled::Done)),
            start: Mutex::new(Poll::Ready(Start::Now)),
            stop: Mutex::new(Poll::Pending),
            here: Mutex::new(vec!["Queued", "QueuedTwice", "QueuedOnSuccess"]),
            changed: Notify::new(),
        }))
    }

    /// Returns the queue's calls.
    fn log(&self) -> Vec<String> {
        self.0.log.lines()
    }

    fn leases(&self, jobs: &[Envelope]) -> Vec<Arc<dyn Lease>> {
        let lease = |job: &Envelope| {
            let lease = Leased { queue: self.clone(), name: job.name.clone(), is_settled: Mutex::new(false) };
            Arc::new(lease) as Arc<dyn Lease>
        };
        jobs.iter().map(lease).collect()
    }

    fn names(jobs: &[Envelope]) -> String {
        jobs.iter().map(|job| job.name.as_str()).collect::<Vec<_>>().join(" ")
    }

    fn stop(&self, stop: Stop) {
        *self.0.stop.lock().unwrap() = Poll::Ready(stop);
        self.0.changed.notify_waiters();
    }
}

impl Queue for Holding {
    fn push(&self, jobs: Vec<Envelope>) -> BoxFuture<'_, Result<(), BoxError>> {
        self.0.log.note(format!("push {}", Self::names(&jobs)));
        Box::pin(async { Ok(()) })
    }

    fn hold(&self) -> Option<&dyn HoldJobs> {
        Some(self)
    }
}

impl HoldJobs for Holding {
    fn hold(&self, jobs: Vec<Envelope>) -> Hold {
        self.0.log.note(format!("hold {}", Self::names(&jobs)));
        let leases = self.leases(&jobs);
        let count = jobs.len();
        self.0.envelopes.lock().unwrap().extend(jobs);
        let mut stored = self.0.stored.subscribe();
        let stored = Box::pin(async move {
            let answer = stored.wait_for(Option::is_some).await.unwrap().unwrap();
            (0..count).map(|_| answer.map_err(BoxError::from)).collect()
        });
        Hold { leases, stored }
    }

    fn runs_here(&self, _: usize, name: &str) -> bool {
        self.0.here.lock().unwrap().contains(&name)
    }

    fn written(&self) -> BoxFuture<'_, ()> {
        self.0.log.note("written");
        Box::pin(async {})
    }
}

struct Leased {
    queue: Holding,
    name: String,
    is_settled: Mutex<bool>,
}

impl Leased {
    fn poll<T: Copy>(&self, cx: &mut Context<'_>, of: &Mutex<Poll<T>>) -> Poll<T> {
        let polled = *of.lock().unwrap();
        if polled.is_pending() {
            let (queue, waker) = (self.queue.clone(), cx.waker().clone());
            tokio::spawn(async move {
                queue.0.changed.notified().await;
                waker.wake();
            });
        }
        polled
    }
}

impl Lease for Leased {
    fn poll_start(&self, cx: &mut Context<'_>) -> Poll<Start> {
        self.poll(cx, &self.queue.0.start)
    }

    fn poll_stopped(&self, cx: &mut Context<'_>) -> Poll<Stop> {
        self.poll(cx, &self.queue.0.stop)
    }

    fn pass(&self) -> BoxFuture<'static, ()> {
        self.queue.0.log.note(format!("pass {}", self.name));
        Box::pin(async {})
    }

    fn set_progress(&self, json: &str) {
        self.queue.0.log.note(format!("{} at {json}", self.name));
    }

    fn settle(&self, end: End, children: Vec<Envelope>) -> Settle {
        *self.is_settled.lock().unwrap() = true;
        let what = match end {
            End::Succeeded => "succeeded".to_owned(),
            End::Failed { error } => format!("failed ({error})"),
            End::Retry { error, .. } => format!("retry ({error})"),
            End::Snoozed { .. } => "snoozed".to_owned(),
            End::Skipped => "skipped".to_owned(),
            End::Cancelled => "cancelled".to_owned(),
            End::Ready(Ready { delay, serial, unique, response, .. }) => {
                let delivery = response.map(|response| response.delivery());
                format!("ready {delay:?} {serial:?} {unique:?} {delivery:?}")
            }
        };
        let and =
            if children.is_empty() { String::new() } else { format!(" and {}", Holding::names(&children)) };
        self.queue.0.log.note(format!("{} {what}{and}", self.name));
        let mut settled = self.queue.0.settled.subscribe();
        let settled = Box::pin(async move { settled.wait_for(Option::is_some).await.unwrap().unwrap() });
        Settle { leases: self.queue.leases(&children), settled }
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        if !*self.is_settled.get_mut().unwrap() {
            self.queue.0.log.note(format!("{} given back", self.name));
        }
    }
}

struct Service {
    journal: Journal,
    events: Events,
    queue: Holding,
    runner: Runner,
}

fn service() -> Service {
    service_with(|builder| builder)
}

fn service_with(with: impl FnOnce(defer_core::RunnerBuilder) -> defer_core::RunnerBuilder) -> Service {
    let (journal, events) = (Journal::default(), Events::default());
    let queue = Holding::new();
    let runner = with(events.runner().queue(queue.clone())).build();
    Service { journal, events, queue, runner }
}

/// Answers a request, and returns its scope before the response is over.
async fn answered(runner: &Runner, status: StatusCode, handler: impl FnOnce()) -> Scope {
    let mut request = Scope::new(runner.clone());
    request.enter(handler);
    request.list().unwrap().admit(Some(status)).await;
    request
}

fn sent(status: StatusCode) -> Option<ResponseInfo> {
    Some(ResponseInfo::new(Delivery::Sent).with_status(Some(status)))
}

#[tokio::test(start_paused = true)]
async fn a_job_is_stored_before_its_response_and_runs_here_after_it_in_its_order() {
    let Service { journal, events, queue, runner } = service();
    let request = answered(&runner, StatusCode::OK, || {
        defer(noting::<Plain>(&journal));
        defer(noting::<Queued>(&journal));
        support::defer_note(&journal, "behind it");
    });
    let request = request.await;
    assert_eq!(queue.log(), ["hold Queued"], "while the response was held");
    tokio::time::sleep(SECOND).await;
    assert!(journal.lines().is_empty(), "its response is not over");
    request.release(sent(StatusCode::OK));
    runner.idle().await;
    assert_eq!(journal.lines(), ["Plain", "Queued", "behind it"]);
    assert_eq!(queue.log(), ["hold Queued", "Queued succeeded"]);
    assert_eq!(events.of("Queued"), ["Deferred 0", "Started 1", "Succeeded 1"]);
    let stats = runner.stats();
    assert_eq!((stats.deferred, stats.taken, stats.succeeded, stats.queued), (3, 0, 3, 0));
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_job_sees_the_response_and_counts_as_ended_once_its_end_is_stored() {
    let Service { journal, queue, runner, .. } = service();
    queue.0.settled.send_replace(None);
    let request = answered(&runner, StatusCode::OK, || {
        let journal = journal.clone();
        defer(Queued::job(move |cx| {
            journal.note(cx.response().unwrap().delivery());
            async { Ok(()) }
        }));
    });
    request.await.release(sent(StatusCode::OK));
    tokio::time::sleep(SECOND).await;
    assert_eq!(journal.lines(), ["sent"]);
    assert_eq!((runner.stats().running, runner.stats().pending), (0, 1), "its end is not stored");
    queue.0.settled.send_replace(Some(Settled::Done));
    runner.idle().await;
    assert_eq!(runner.stats().succeeded, 1);
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_is_refused_counts_as_the_queues() {
    let Service { journal, events, queue, runner } = service();
    queue.0.settled.send_replace(Some(Settled::Refused));
    scope(&runner, async { defer(noting::<Queued>(&journal)) }).await;
    runner.idle().await;
    assert_eq!(
        events.of("Queued"),
        ["Deferred 0", "Started 1", "Queued 0"].map(|e| e.replace("Queued 0", "Queued 1"))
    );
    assert_eq!((runner.stats().queued, runner.stats().succeeded), (1, 0));
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn the_next_attempt_is_the_queues() {
    let Service { events, queue, runner, .. } = service();
    scope(&runner, async { defer(QueuedTwice::job(|_| async { Err(JobError::msg("no")) })) }).await;
    runner.idle().await;
    assert_eq!(queue.log(), ["hold QueuedTwice", "QueuedTwice retry (no)"]);
    assert_eq!(events.of("QueuedTwice"), ["Deferred 0", "Started 1", "Retrying 1", "Queued 1"]);
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn jobs_that_cannot_run_here_now_are_made_ready_for_any_process_once_their_response_is_over() {
    let Service { journal, queue, runner, .. } = service();
    *queue.0.here.lock().unwrap() = vec!["Queued"];
    let request = answered(&runner, StatusCode::OK, || {
        defer(noting::<Queued>(&journal)).delay(SECOND);
        defer(noting::<Queued>(&journal)).serial("s");
        defer(noting::<Queued>(&journal)).unique("u");
        defer(noting::<QueuedTwice>(&journal));
        defer(noting::<Queued>(&journal));
    });
    let request = request.await;
    assert_eq!(queue.log().len(), 1);
    request.release(sent(StatusCode::OK));
    runner.idle().await;
    assert_eq!(journal.lines(), ["Queued"], "the last");
    let expected = [
        "Queued ready 1s None None Some(Sent)",
        "Queued ready 0ns Some(\"s\") None Some(Sent)",
        "Queued ready 0ns None Some(\"u\") Some(Sent)",
        "QueuedTwice ready 0ns None None Some(Sent)",
        "Queued succeeded",
    ];
    assert_eq!(queue.log()[1..], expected);
    assert_eq!((runner.stats().queued, runner.stats().succeeded), (4, 1));
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_is_known_by_its_handle() {
    let Service { journal, queue, runner, .. } = service();
    queue.0.settled.send_replace(Some(Settled::Duplicate(JobId::unique())));
    let mut handle = None;
    scope(&runner, async { handle = Some(defer(noting::<Queued>(&journal)).unique("u")) }).await;
    runner.idle().await;
    assert!(handle.unwrap().is_duplicate());
    assert_eq!(runner.stats().cancelled, 1);
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_full_runner_leaves_all_durable_jobs_of_a_request_to_the_queue_and_holds_no_response_for_them() {
    let Service { journal, queue, runner, .. } =
        service_with(|builder| builder.max_pending(1).max_running(1));
    scope(&runner, async { defer_fn(|_| std::future::pending::<()>()) }).await;
    scope(&runner, async { support::defer_note(&journal, "fills the room") }).await;
    tokio::task::yield_now().await;
    let request = answered(&runner, StatusCode::OK, || {
        defer(noting::<Queued>(&journal));
        defer(noting::<Queued>(&journal));
    });
    let request = tokio::time::timeout(SECOND, request).await.expect("it is not held");
    request.release(sent(StatusCode::OK));
    tokio::time::sleep(SECOND).await;
    assert_eq!(queue.log().iter().filter(|line| line.starts_with("Queued ready")).count(), 2);
    assert_eq!(runner.stats().queued, 2);
}

#[tokio::test(start_paused = true)]
async fn conditions_are_stored_and_asked_after_the_response() {
    let Service { journal, queue, runner, .. } = service();
    for (status, delivery) in
        [(StatusCode::OK, Delivery::Disconnected), (StatusCode::BAD_GATEWAY, Delivery::Sent)]
    {
        let request = answered(&runner, status, || {
            defer(noting::<QueuedOnSuccess>(&journal));
            defer(noting::<Queued>(&journal)).when(|response| response.delivery() == Delivery::Sent);
        });
        request.await.release(Some(ResponseInfo::new(delivery).with_status(Some(status))));
        runner.idle().await;
    }
    let held = queue.0.envelopes.lock().unwrap().clone();
    let conditions: Vec<_> = held.iter().map(|job| (job.condition, job.status.unwrap().as_u16())).collect();
    use Condition::{Success, When};
    assert_eq!(conditions, [(Success, 200), (When, 200), (Success, 502), (When, 502)]);
    assert_eq!(journal.lines(), ["QueuedOnSuccess", "Queued"]);
    let mut log = queue.log();
    log.retain(|line| !line.starts_with("hold"));
    let expected = [
        "QueuedOnSuccess succeeded",
        "Queued skipped",
        "QueuedOnSuccess skipped",
        "pass Queued",
        "Queued succeeded",
    ];
    assert_eq!(log, expected);
    assert_eq!((runner.stats().succeeded, runner.stats().skipped), (2, 2));
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn children_of_a_stored_job_are_stored_with_its_end_and_start_after_it() {
    let Service { journal, queue, runner, .. } = service();
    let of_job = journal.clone();
    scope(&runner, async {
        defer(Queued::job(move |_| {
            let journal = of_job.clone();
            async move {
                defer(noting::<QueuedTwice>(&journal)).key("changed by its handle");
                support::defer_note(&journal, "in memory");
                tokio::time::sleep(SECOND).await;
                journal.note("parent");
                Ok(())
            }
        }));
    })
    .await;
    tokio::time::sleep(SECOND / 2).await;
    assert_eq!(queue.log(), ["hold Queued"], "its child is not stored before its end");
    queue.0.settled.send_replace(None);
    tokio::time::sleep(SECOND * 10).await;
    assert_eq!(queue.log(), ["hold Queued", "Queued succeeded and QueuedTwice"]);
    assert_eq!(journal.lines(), ["parent"]);
    queue.0.settled.send_replace(Some(Settled::Done));
    runner.idle().await;
    assert_eq!(journal.lines(), ["parent", "QueuedTwice", "in memory"]);
    assert_eq!(queue.log()[2..], ["QueuedTwice succeeded"]);
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn if_the_end_is_refused_its_children_were_never_deferred() {
    let Service { journal, queue, runner, .. } = service();
    queue.0.settled.send_replace(Some(Settled::Refused));
    let of_job = journal.clone();
    scope(&runner, async {
        defer(Queued::job(move |_| {
            defer(noting::<QueuedTwice>(&of_job));
            async { Ok(()) }
        }));
    })
    .await;
    runner.idle().await;
    assert!(journal.lines().is_empty());
    assert_eq!((runner.stats().queued, runner.stats().cancelled), (1, 1));
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_job_in_memory_stores_what_it_defers_at_once() {
    let Service { journal, queue, runner, .. } = service();
    let of_job = journal.clone();
    scope(&runner, async {
        defer_fn(move |_| async move {
            defer(noting::<Queued>(&of_job)).delay(SECOND);
            // An event, whose hook is in no scope.
            defer_fn(|_| async {}).cancel();
            tokio::time::sleep(SECOND * 60).await;
        });
    })
    .await;
    tokio::time::sleep(SECOND * 2).await;
    assert_eq!(queue.log(), ["hold Queued", "Queued ready 1s None None None"]);
    runner.idle().await;
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_fails_or_takes_too_long_leaves_the_job_to_run_here_and_its_end_is_told() {
    let Service { journal, events, queue, runner } = service();
    queue.0.stored.send_replace(Some(Err("the disk is full")));
    scope(&runner, async { defer(noting::<Queued>(&journal)) }).await;
    runner.idle().await;
    queue.0.stored.send_replace(None);
    scope(&runner, async { defer(noting::<Queued>(&journal)) }).await;
    runner.idle().await;
    assert_eq!(journal.lines(), ["Queued", "Queued"]);
    assert_eq!(events.errors_of("Queued"), ["the disk is full", "the queue took longer than 5s"]);
    assert_eq!(queue.log(), ["hold Queued", "Queued succeeded", "hold Queued", "Queued succeeded"]);
    assert_eq!(runner.stats().succeeded, 2);
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_refuses_says_so_and_runs_none_of_the_request_s_durable_jobs() {
    let Service { journal, events, queue, runner } =
        service_with(|builder| builder.on_queue_failure(OnQueueFailure::Refuse));
    for answer in [Some(Err("the disk is full")), None] {
        queue.0.stored.send_replace(answer);
        let request = answered(&runner, StatusCode::OK, || {
            defer(noting::<Queued>(&journal));
            defer(noting::<Plain>(&journal)).on_success();
            support::defer_note(&journal, "audit");
        });
        let request = request.await;
        assert!(request.list().unwrap().is_refused());
        request.release(sent(StatusCode::SERVICE_UNAVAILABLE));
        runner.idle().await;
    }
    assert_eq!(journal.lines(), ["audit", "audit"]);
    assert_eq!(events.of("Queued")[..3], ["Deferred 0", "QueueFailed 0", "Cancelled 0"]);
    assert_eq!(queue.log(), ["hold Queued", "Queued cancelled", "hold Queued", "Queued cancelled"]);
    queue.0.stored.send_replace(Some(Ok(())));
    let request = answered(&runner, StatusCode::OK, || drop(defer(noting::<Queued>(&journal))));
    assert!(!request.await.list().unwrap().is_refused());
    runner.idle().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_write_that_timed_out_responses_wait_a_tenth_of_a_second_until_one_has_succeeded() {
    let Service { journal, queue, runner, .. } = service();
    let took = async || {
        let began = tokio::time::Instant::now();
        scope(&runner, async { defer(noting::<Queued>(&journal)) }).await;
        began.elapsed().as_millis() / 100 * 100
    };
    queue.0.stored.send_replace(None);
    assert_eq!((took().await, took().await), (5000, 100));
    queue.0.stored.send_replace(Some(Ok(())));
    assert_eq!(took().await, 0);
    queue.0.stored.send_replace(None);
    assert_eq!(took().await, 5000);
    runner.idle().await;
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_job_does_not_start_before_its_lease_lets_it_and_delays_no_other_meanwhile() {
    let Service { journal, queue, runner, .. } = service_with(|builder| builder.max_running(1));
    *queue.0.start.lock().unwrap() = Poll::Pending;
    scope(&runner, async { defer(noting::<Queued>(&journal)) }).await;
    tokio::time::sleep(SECOND).await;
    scope(&runner, async { support::defer_note(&journal, "another request") }).await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(journal.lines(), ["another request"]);
    *queue.0.start.lock().unwrap() = Poll::Ready(Start::Now);
    queue.0.changed.notify_waiters();
    runner.idle().await;
    assert_eq!(journal.lines(), ["another request", "Queued"]);
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_whose_lease_is_lost_is_stopped_and_writes_nothing() {
    let Service { events, queue, runner, .. } = service();
    scope(&runner, async {
        defer(Queued::job(|_| async {
            defer(noting::<Queued>(&Journal::default()));
            std::future::pending().await
        }));
    })
    .await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(runner.stats().running, 1);
    queue.stop(Stop::Lost);
    runner.idle().await;
    assert_eq!(queue.log(), ["hold Queued", "Queued given back"]);
    assert_eq!(events.of("Queued"), ["Deferred 0", "Started 1", "Deferred 0", "Cancelled 0", "Queued 1"]);
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_cancelled_from_elsewhere_is_stopped_and_settled_so() {
    let Service { events, queue, runner, .. } = service();
    scope(&runner, async { defer(Queued::job(|_| std::future::pending())) }).await;
    tokio::time::sleep(SECOND).await;
    queue.stop(Stop::Cancelled);
    runner.idle().await;
    assert_eq!(queue.log(), ["hold Queued", "Queued cancelled"]);
    assert_eq!(events.of("Queued"), ["Deferred 0", "Started 1", "Cancelled 1"]);
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_handle_cancels_a_stored_job_until_it_starts() {
    let Service { journal, queue, runner, .. } = service();
    let mut handle = None;
    let request = answered(&runner, StatusCode::OK, || handle = Some(defer(noting::<Queued>(&journal))));
    let request = request.await;
    assert!(handle.unwrap().cancel());
    request.release(sent(StatusCode::OK));
    runner.idle().await;
    assert!(journal.lines().is_empty());
    assert_eq!(queue.log(), ["hold Queued", "Queued cancelled"]);
    assert_eq!(runner.stats().cancelled, 1);
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn at_the_end_of_a_shutdown_stored_jobs_are_given_back_and_counted_as_queued() {
    let Service { journal, queue, runner, .. } = service();
    scope(&runner, async {
        defer(Queued::job(|_| async {
            defer(noting::<QueuedTwice>(&Journal::default()));
            std::future::pending().await
        }));
        defer(noting::<Queued>(&journal));
    })
    .await;
    let open = answered(&runner, StatusCode::OK, || drop(defer(noting::<Queued>(&journal)))).await;
    tokio::time::sleep(SECOND).await;
    let report = runner.shutdown(SECOND).await;
    assert_eq!((report.queued, report.unfinished), (4, vec![]), "with the child, which runs with its parent");
    // Now the process may end.
    assert_eq!(queue.log().iter().filter(|line| *line == "Queued given back").count(), 3);
    assert_eq!(queue.log().last().unwrap(), "written");
    assert!(!queue.log().iter().any(|line| line.starts_with("push")));
    drop(open);
    assert!(journal.lines().is_empty());
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn during_a_shutdown_stored_jobs_of_responses_that_end_go_to_the_queue() {
    let Service { journal, queue, runner, .. } = service();
    let open = answered(&runner, StatusCode::OK, || drop(defer(noting::<Queued>(&journal)))).await;
    let shutdown = tokio::spawn({
        let runner = runner.clone();
        async move { runner.shutdown(SECOND * 60).await }
    });
    tokio::time::sleep(SECOND).await;
    open.release(sent(StatusCode::OK));
    let report = shutdown.await.unwrap();
    assert_eq!((report.completed, report.unfinished), (1, vec![]));
    assert_eq!(queue.log()[1..], ["Queued ready 0ns None None Some(Sent)"]);
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_worker_s_job_runs_once_with_its_response_and_its_lease_is_told_the_end() {
    let Service { journal, events, queue, runner } = service();
    let of_job = journal.clone();
    let job = QueuedTwice::job(move |cx| {
        let (request, response) = (cx.request().unwrap(), cx.response().unwrap());
        of_job.note(format!("{} {:?} {}", request.method(), request.matched_path(), response.delivery()));
        defer(noting::<Queued>(&of_job));
        async { Ok(()) }
    });
    let metadata = Metadata::from_iter([("route".to_owned(), "POST /users/{id}".to_owned())]);
    let mut resume = Resume::new(JobId::unique(), 1, metadata);
    resume.response = sent(StatusCode::OK);
    let lease =
        queue.leases(&[Envelope::new(resume.id, "QueuedTwice", QueuedTwice::POLICY, vec![])]).remove(0);
    runner.resume_leased(job, resume, lease).unwrap();
    runner.idle().await;
    assert_eq!(journal.lines(), ["POST Some(\"/users/{id}\") sent", "Queued"]);
    assert_eq!(queue.log(), ["QueuedTwice succeeded and Queued", "Queued succeeded"]);
    assert_eq!(events.of("QueuedTwice"), ["Taken 1", "Started 2", "Succeeded 2"]);
    let stats = runner.stats();
    assert_eq!((stats.deferred, stats.taken, stats.succeeded), (1, 1, 2));
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_is_cancelled_while_its_jobs_are_stored_loses_none() {
    let Service { journal, queue, runner, .. } = service();
    queue.0.stored.send_replace(None);
    let mut request = Scope::new(runner.clone());
    request.enter(|| defer(noting::<Queued>(&journal)));
    {
        let list = request.list().unwrap();
        let admitted = list.admit(Some(StatusCode::OK));
        tokio::time::timeout(SECOND, admitted).await.unwrap_err();
    }
    request.release(Some(ResponseInfo::new(Delivery::Cancelled)));
    drop(request);
    tokio::time::sleep(SECOND).await;
    assert!(journal.lines().is_empty(), "its row is not on disk");
    queue.0.stored.send_replace(Some(Ok(())));
    runner.idle().await;
    assert_eq!(
        (journal.lines(), queue.log()),
        (vec!["Queued".into()], vec!["hold Queued".into(), "Queued succeeded".into()])
    );
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_late_job_is_stored_before_it_starts_and_its_handle_can_still_change_it() {
    let Service { journal, queue, runner, .. } = service();
    let mut later = None;
    scope(&runner, async { later = Defer::current() }).await;
    let later = later.unwrap();
    let of_task = journal.clone();
    let scoped =
        later.scope(async move { defer(noting::<Queued>(&of_task)).delay(Duration::from_secs(3)).id() });
    let id = scoped.await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(queue.log(), ["hold Queued", "Queued ready 3s None None None"]);
    assert_eq!(queue.0.envelopes.lock().unwrap()[0].id, id);
    later.push(noting::<Queued>(&journal));
    runner.idle().await;
    assert_eq!(journal.lines(), ["Queued"]);
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_stored_job_tells_its_lease_how_far_it_is_while_its_attempt_runs() {
    let Service { queue, runner, .. } = service();
    let (told, mut contexts) = tokio::sync::mpsc::unbounded_channel();
    scope(&runner, async {
        defer(Queued::job(move |cx| {
            let told = told.clone();
            async move {
                cx.set_progress("half")?;
                told.send(cx)?;
                Ok(())
            }
        }));
    })
    .await;
    runner.idle().await;
    let cx: defer_core::JobContext = contexts.recv().await.unwrap();
    cx.set_progress("late").unwrap();
    assert_eq!(queue.log(), ["hold Queued", "Queued at \"half\"", "Queued succeeded"]);
}

#[tokio::test(start_paused = true)]
async fn a_stored_job_that_waits_for_it_is_told_that_it_is_cancelled_before_it_is_dropped() {
    let Service { journal, events, queue, runner } = service();
    let noted = journal.clone();
    scope(&runner, async {
        defer(QueuedTwice::job(move |cx| {
            let journal = noted.clone();
            async move {
                cx.cancelled().await;
                journal.note("tidied");
                Err(JobError::msg("cancelled"))
            }
        }));
    })
    .await;
    tokio::time::sleep(SECOND).await;
    queue.stop(Stop::Cancelled);
    runner.idle().await;
    assert_eq!(journal.lines(), ["tidied"]);
    assert_eq!(queue.log(), ["hold QueuedTwice", "QueuedTwice cancelled"], "and not tried again");
    assert_eq!(events.of("QueuedTwice"), ["Deferred 0", "Started 1", "Cancelled 1"]);
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn where_the_queue_cannot_cancel_the_runner_does_what_it_can_for_a_job_that_it_has() {
    let Service { journal, queue, runner, .. } = service();
    // Its response is not over.
    let mut held = None;
    let request = answered(&runner, StatusCode::OK, || held = Some(defer(noting::<Queued>(&journal)).id()));
    let request = request.await;
    assert_eq!(runner.cancel(held.unwrap()).await, Cancel::Asked);
    request.release(sent(StatusCode::OK));
    let id = scope(&runner, async { defer(Queued::job(|_| std::future::pending())).id() }).await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(runner.cancel(id).await, Cancel::Asked);
    runner.idle().await;
    assert!(journal.lines().is_empty());
    let log = ["hold Queued", "Queued cancelled", "hold Queued", "Queued cancelled"];
    assert_eq!(queue.log(), log);
    assert_eq!(runner.stats().cancelled, 2);
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_job_on_its_way_to_the_queue_is_cancelled_once_that_has_answered() {
    for answer in [Ok(()), Err("full")] {
        let Service { journal, queue, runner, .. } = service();
        queue.0.stored.send_replace(None);
        let mut request = Scope::new(runner.clone());
        let id = request.enter(|| defer(noting::<Queued>(&journal)).id());
        let list = request.list().unwrap().clone();
        let admitted = tokio::spawn(async move { list.admit(Some(StatusCode::OK)).await });
        tokio::time::sleep(SECOND).await;
        let of_job = runner.clone();
        let cancel = tokio::spawn(async move { of_job.cancel(id).await });
        tokio::time::sleep(SECOND).await;
        assert!(!cancel.is_finished());
        queue.0.stored.send_replace(Some(answer));
        assert!(matches!(cancel.await.unwrap(), Cancel::Asked | Cancel::Cancelled));
        admitted.await.unwrap();
        request.release(sent(StatusCode::OK));
        runner.idle().await;
        assert!(journal.lines().is_empty(), "{answer:?}");
        assert_eq!(runner.stats().cancelled, 1);
        assert_all_accounted_for(&runner);
    }
}
