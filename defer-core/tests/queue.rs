//! Jobs for a queue: pushed at the end of their request, and what is left of them at the end of a shutdown.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use defer_core::{
    BoxError, BoxFuture, Defer, Delivery, JobError, JobId, Overflow, RequestInfo, ResponseInfo, Runner,
    Scope, defer, defer_fn,
    queue::{Envelope, Metadata, Queue, Ran, Resume},
    scope,
};
use http::{Method, StatusCode, Version};
use support::{
    Does, Events, Journal, Kind, OnDrop, Plain, Queued, QueuedOnSuccess, QueuedTwice, SECOND,
    assert_all_accounted_for, defer_note, noting, quiet_panics,
};
use tokio::sync::Semaphore;

/// A queue in memory.
#[derive(Clone)]
struct Memory {
    envelopes: Arc<Mutex<Vec<Envelope>>>,
    /// The results of the next pushes; when none is left, they succeed.
    does: Arc<Mutex<Vec<Push>>>,
    /// Pushes that may return.
    turns: Arc<Semaphore>,
}

#[derive(Clone, Copy)]
enum Push {
    Fails,
    Panics,
    PanicsAtOnce,
    Waits,
}

impl Memory {
    fn new(does: &[Push]) -> Self {
        Self {
            envelopes: Arc::default(),
            does: Arc::new(Mutex::new(does.iter().rev().copied().collect())),
            turns: Arc::new(Semaphore::new(0)),
        }
    }

    fn names(&self) -> Vec<String> {
        self.envelopes.lock().unwrap().iter().map(|envelope| envelope.name.clone()).collect()
    }
}

impl Queue for Memory {
    fn push(&self, jobs: Vec<Envelope>) -> BoxFuture<'_, Result<(), BoxError>> {
        let does = self.does.lock().unwrap().pop();
        assert!(!matches!(does, Some(Push::PanicsAtOnce)), "on purpose");
        Box::pin(async move {
            tokio::task::yield_now().await;
            match does {
                Some(Push::Fails) => return Err("the disk is full".into()),
                Some(Push::Panics) => panic!("on purpose"),
                Some(Push::Waits) => self.turns.acquire().await?.forget(),
                Some(Push::PanicsAtOnce) | None => {}
            }
            self.envelopes.lock().unwrap().extend(jobs);
            Ok(())
        })
    }
}

#[tokio::test(start_paused = true)]
async fn jobs_for_the_queue_go_there_and_the_others_run_here() {
    let (events, queue, journal) = (Events::default(), Memory::new(&[]), Journal::default());
    let runner = events.runner().queue(queue.clone()).build();
    let id = scope(&runner, async {
        defer(noting::<Plain>(&journal));
        let queued = defer(noting::<Queued>(&journal));
        defer(noting::<QueuedTwice>(&journal));
        defer(noting::<Queued>(&journal)).cancel();
        queued.id()
    })
    .await;
    assert_eq!(queue.names(), ["Queued", "QueuedTwice"], "the response was held back for them");
    runner.idle().await;
    assert_eq!(journal.lines(), ["Plain"]);
    {
        let envelopes = queue.envelopes.lock().unwrap();
        assert_eq!((envelopes[0].id, &*envelopes[0].payload), (id, &b"Queued"[..]));
        assert_eq!(envelopes[1].policy, QueuedTwice::POLICY);
    }
    assert_eq!(events.of("QueuedTwice"), ["Deferred 0", "Queued 0"]);
    let stats = runner.stats();
    assert_eq!((stats.queued, stats.succeeded, stats.cancelled), (2, 1, 1));
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn the_response_is_held_until_the_queue_has_the_jobs() {
    let (queue, journal) = (Memory::new(&[Push::Waits]), Journal::default());
    let runner = Runner::builder().queue(queue.clone()).build();
    let response = tokio::spawn({
        let (runner, journal) = (runner.clone(), journal.clone());
        async move { scope(&runner, async { drop(defer(noting::<Queued>(&journal))) }).await }
    });
    tokio::time::sleep(SECOND).await;
    assert!(!response.is_finished());
    queue.turns.add_permits(1);
    response.await.unwrap();
    assert_eq!((queue.names().len(), runner.stats().queued), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_sheds_does_not_shed_a_job_that_the_queue_did_not_take() {
    let (queue, journal) = (Memory::new(&[Push::Fails]), Journal::default());
    let sheds = Runner::builder().max_running(1).max_pending(1).overflow(Overflow::Shed);
    let runner = sheds.queue(queue.clone()).build();
    // One runs, and one takes all the room.
    let turn = Arc::new(Semaphore::new(0));
    let gate = turn.clone();
    scope(&runner, async {
        defer_fn(|_| async move { gate.acquire().await.map(drop).map_err(JobError::from) })
    })
    .await;
    tokio::task::yield_now().await;
    scope(&runner, async { defer_note(&journal, "first") }).await;
    scope(&runner, async { drop(defer(noting::<Queued>(&journal))) }).await;
    // One that no queue was to take is shed.
    scope(&runner, async { defer_note(&journal, "shed") }).await;
    turn.add_permits(1);
    runner.idle().await;
    assert_eq!(journal.lines(), ["first", "Queued"]);
    let stats = runner.stats();
    assert_eq!((stats.succeeded, stats.shed, queue.names().len()), (3, 1, 0));
    assert_all_accounted_for(&runner);
    // The room was given back, once.
    for _ in 0..2 {
        scope(&runner, async { defer_note(&journal, "later") }).await;
        runner.idle().await;
    }
    assert_eq!((runner.stats().succeeded, runner.stats().shed), (5, 1));
}

#[tokio::test(start_paused = true)]
async fn jobs_that_the_queue_does_not_take_run_here_and_an_event_says_so() {
    quiet_panics();
    for push in [Push::Fails, Push::Panics, Push::PanicsAtOnce] {
        let (events, queue, journal) = (Events::default(), Memory::new(&[push]), Journal::default());
        let runner = events.runner().queue(queue.clone()).build();
        scope(&runner, async {
            defer(noting::<Queued>(&journal));
            defer(noting::<Plain>(&journal));
        })
        .await;
        runner.idle().await;
        assert_eq!(journal.lines(), ["Queued", "Plain"]);
        assert_eq!(events.of("Queued"), ["Deferred 0", "QueueFailed 0", "Started 1", "Succeeded 1"]);
        let error = &events.errors_of("Queued")[0];
        assert!(error == "the disk is full" || error == "panicked: on purpose", "{error}");
        assert_all_accounted_for(&runner);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_queue_its_jobs_run_here() {
    let (runner, journal) = (Runner::default(), Journal::default());
    scope(&runner, async { defer(noting::<Queued>(&journal)) }).await;
    runner.idle().await;
    assert_eq!(journal.lines(), ["Queued"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_does_not_stop_the_push() {
    let (queue, journal) = (Memory::new(&[Push::Waits]), Journal::default());
    let runner = Runner::builder().queue(queue.clone()).build();
    let response = scope(&runner, async { drop(defer(noting::<Queued>(&journal))) });
    tokio::time::timeout(SECOND, response).await.unwrap_err();
    queue.turns.add_permits(1);
    runner.idle().await;
    assert_eq!((journal.lines().len(), queue.names().len()), (0, 1));
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_push_that_takes_longer_than_its_limit_lets_the_response_go_and_the_job_runs_here() {
    let (events, queue, journal) = (Events::default(), Memory::new(&[Push::Waits]), Journal::default());
    let runner = events.runner().queue(queue.clone()).build();
    let before = tokio::time::Instant::now();
    scope(&runner, async { drop(defer(noting::<Queued>(&journal))) }).await;
    assert_eq!(before.elapsed().as_secs(), 5);
    runner.idle().await;
    assert_eq!(journal.lines(), ["Queued"]);
    assert_eq!(events.errors_of("Queued"), ["the queue took longer than 5s"]);
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn cancel_returns_true_only_for_a_job_that_the_queue_does_not_get() {
    let (queue, journal) = (Memory::new(&[Push::Waits, Push::Fails, Push::Waits]), Journal::default());
    let runner = Runner::builder().queue(queue.clone()).push_timeout(SECOND).build();
    let defer_one = || {
        let mut request = Scope::new(runner.clone());
        let job = request.enter(|| defer(noting::<Queued>(&journal)));
        let list = request.list().unwrap();
        (job, tokio::spawn(async move { list.admit(None).await }), request)
    };
    // It is pushed after all.
    let (job, admitted, request) = defer_one();
    tokio::task::yield_now().await;
    assert!(!job.cancel());
    queue.turns.add_permits(1);
    admitted.await.unwrap();
    assert!(!job.cancel());
    drop(request);
    // The queue says that it has not got it.
    let (job, admitted, request) = defer_one();
    admitted.await.unwrap();
    assert!(job.cancel());
    drop(request);
    // It may have got it.
    let (job, admitted, request) = defer_one();
    admitted.await.unwrap();
    assert!(!job.cancel());
    request.release(None);
    runner.idle().await;
    assert_eq!((runner.stats().queued, runner.stats().cancelled, runner.stats().succeeded), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_condition_is_asked_as_early_as_it_can_be_known() {
    let (queue, journal) = (Memory::new(&[]), Journal::default());
    let runner = Runner::builder().queue(queue.clone()).build();
    for (status, at_head, skipped) in [(StatusCode::OK, 2, 0), (StatusCode::NOT_FOUND, 1, 2)] {
        let before = queue.names().len();
        let mut request = Scope::new(runner.clone());
        request.enter(|| {
            defer(noting::<QueuedOnSuccess>(&journal));
            defer(noting::<Queued>(&journal)).when(|response| response.is_success());
            defer(noting::<QueuedOnSuccess>(&journal)).always();
        });
        request.list().unwrap().admit(Some(status)).await;
        assert_eq!(queue.names().len() - before, at_head);
        request.release(Some(ResponseInfo::new(Delivery::Sent).with_status(Some(status))));
        runner.idle().await;
        assert_eq!(runner.stats().skipped, skipped);
    }
    assert_eq!(journal.lines(), Vec::<String>::new());
    assert_eq!(queue.names(), ["QueuedOnSuccess", "QueuedOnSuccess", "Queued", "QueuedOnSuccess"]);
    let statuses: Vec<_> = queue.envelopes.lock().unwrap().iter().map(|envelope| envelope.status).collect();
    let (ok, missing) = (Some(StatusCode::OK), Some(StatusCode::NOT_FOUND));
    assert_eq!(
        statuses,
        [ok, ok, ok, missing],
        "what is pushed knows its status, before and after the response"
    );
}

#[tokio::test(start_paused = true)]
async fn a_condition_that_panics_fails_its_job_and_the_others_are_pushed() {
    quiet_panics();
    let (events, queue, journal) = (Events::default(), Memory::new(&[]), Journal::default());
    let runner = events.runner().queue(queue.clone()).build();
    let mut request = Scope::new(runner.clone());
    request.enter(|| {
        defer(noting::<QueuedTwice>(&journal)).when(|_| panic!("on purpose"));
        defer(noting::<Queued>(&journal));
    });
    request.release(Some(ResponseInfo::new(Delivery::Sent)));
    runner.idle().await;
    assert_eq!(queue.names(), ["Queued"]);
    assert_eq!(events.of("QueuedTwice"), ["Deferred 0", "Panicked 0"]);
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn however_a_request_ends_and_wherever_a_job_is_deferred_it_reaches_the_queue() {
    let (queue, journal) = (Memory::new(&[]), Journal::default());
    let runner = Runner::builder().max_running(1).queue(queue.clone()).build();
    let all_queued = async |how: &str| {
        runner.idle().await;
        assert_eq!((queue.names().len(), journal.lines().len()), (1, 0), "{how}");
        queue.envelopes.lock().unwrap().clear();
    };
    for delivery in [Delivery::Panicked, Delivery::Cancelled, Delivery::Disconnected, Delivery::Failed] {
        let mut request = Scope::new(runner.clone());
        request.enter(|| defer(noting::<Queued>(&journal)));
        request.release(Some(ResponseInfo::new(delivery)));
        all_queued(delivery.as_str()).await;
    }
    let late = scope(&runner, async { Defer::current().unwrap() }).await;
    late.push(noting::<Queued>(&journal));
    all_queued("through a `Defer` after the response").await;
    let of_job = journal.clone();
    scope(&runner, async {
        defer(Plain::job(move |_| {
            defer(noting::<Queued>(&of_job));
            // A handle is of use until its job starts.
            defer(noting::<QueuedTwice>(&of_job)).cancel();
            async { Ok(()) }
        }));
    })
    .await;
    all_queued("by another job").await;
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_job_of_a_job_is_pushed_before_its_turn_comes() {
    let (queue, journal) = (Memory::new(&[]), Journal::default());
    let runner = Runner::builder().queue(queue.clone()).build();
    let of_job = journal.clone();
    scope(&runner, async {
        defer(Plain::job(move |_| {
            defer(noting::<Queued>(&of_job));
            async { Ok(()) }
        }));
        defer(hanging::<Plain>(&journal));
    })
    .await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(queue.names(), ["Queued"]);
    runner.shutdown(SECOND).await;
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn jobs_behind_one_that_is_pushed_slowly_wait_for_it_and_other_requests_do_not() {
    let (queue, journal) = (Memory::new(&[Push::Waits]), Journal::default());
    let runner = Runner::builder().max_running(1).queue(queue.clone()).build();
    let mut request = Scope::new(runner.clone());
    request.enter(|| {
        defer(noting::<Queued>(&journal));
        defer_note(&journal, "behind it");
    });
    request.release(None);
    scope(&runner, async { defer_note(&journal, "another request") }).await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(journal.lines(), ["another request"]);
    tokio::time::sleep(SECOND * 5).await;
    assert_eq!(journal.lines(), ["another request", "Queued", "behind it"], "in the order deferred");
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_job_takes_its_request_s_route_and_its_delay_along() {
    let (queue, journal) = (Memory::new(&[]), Journal::default());
    let runner = Runner::builder().queue(queue.clone()).build();
    let mut request = Scope::new(runner.clone());
    request.enter(|| defer(noting::<Queued>(&journal)).delay(SECOND * 60));
    let list = request.list().unwrap();
    let info = RequestInfo::new(Method::POST, "/users/7?token=x".parse().unwrap(), Version::HTTP_11);
    list.set_request(info.with_matched_path(Some("/users/{id}".into())));
    list.admit(Some(StatusCode::OK)).await;
    let envelopes = queue.envelopes.lock().unwrap();
    assert_eq!(envelopes[0].metadata["route"], "POST /users/{id}");
    assert_eq!(envelopes[0].delay, SECOND * 60);
}

/// Acts as a queue's worker: one attempt after another.
#[tokio::test(start_paused = true)]
async fn a_job_from_a_queue_runs_as_any_job_and_its_next_attempt_is_the_queues() {
    let (events, queue) = (Events::default(), Memory::new(&[]));
    let runner = events.runner().queue(queue.clone()).build();
    let id = scope(&runner, async { defer(QueuedTwice::job(|_| async { Ok(()) })).id() }).await;
    for (attempts, expected) in [(0, "Retry"), (1, "Failed")] {
        let resume = Resume::new(id, attempts, Metadata::new());
        let job = QueuedTwice::job(|_| async { Err(JobError::msg("the disk is full")) });
        let ran = runner.resume(job, resume).unwrap().ran().await;
        match ran {
            Ran::Retry { error, delay, .. } => {
                assert_eq!(
                    (error.to_string(), delay, "Retry"),
                    ("the disk is full".into(), SECOND, expected)
                );
            }
            Ran::Failed { error, .. } => {
                assert_eq!((error.to_string(), "Failed"), ("the disk is full".into(), expected));
            }
            ran => panic!("{ran:?}"),
        }
    }
    let expected = ["Deferred 0", "Queued 0", "Taken 0", "Started 1", "Retrying 1", "Queued 1"];
    assert_eq!(events.of("QueuedTwice")[..6], expected);
    assert_eq!(events.of("QueuedTwice")[6..], ["Taken 1", "Started 2", "Failed 2"]);
    assert_eq!(queue.names().len(), 1, "it never goes back by itself");
    let stats = runner.stats();
    assert_eq!((stats.deferred, stats.taken), (1, 2));
    assert_eq!((stats.queued, stats.retried, stats.failed), (2, 1, 1));
    assert_all_accounted_for(&runner);
}

/// A crash between the two would lose them.
#[tokio::test(start_paused = true)]
async fn a_job_from_a_queue_has_ended_only_when_the_queue_has_the_jobs_that_it_deferred() {
    let (queue, journal) = (Memory::new(&[Push::Waits]), Journal::default());
    let runner = Runner::builder().queue(queue.clone()).build();
    let of_job = journal.clone();
    let parent = Plain::job(move |_| {
        defer(noting::<Queued>(&of_job));
        async { Ok(()) }
    });
    let resume = Resume::new(JobId::unique(), 0, Metadata::new());
    let mut parent = runner.resume(parent, resume).unwrap();
    tokio::time::timeout(SECOND, parent.ran()).await.unwrap_err();
    assert_eq!(runner.stats().succeeded, 1);
    queue.turns.add_permits(1);
    assert!(matches!(parent.ran().await, Ran::Succeeded));
    assert_eq!(queue.names(), ["Queued"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_from_a_queue_that_is_stopped_is_unfinished_and_no_longer_runs() {
    let journal = Journal::default();
    let resumed = |runner: &Runner| {
        let id = Envelope::of(&Written).unwrap().id;
        let resume = Resume::new(id, 0, Metadata::new());
        runner.resume(hanging::<Queued>(&journal), resume).unwrap()
    };
    let runner = Runner::default();
    let mut job = resumed(&runner);
    let report = runner.shutdown(SECOND).await;
    assert_eq!((report.queued, report.unfinished), (1, vec![]));
    assert!(matches!(job.ran().await, Ran::Unfinished));
    let runner = Runner::default();
    let job = resumed(&runner);
    tokio::task::yield_now().await;
    drop(job);
    tokio::task::yield_now().await;
    assert_eq!(journal.lines(), ["stopped", "stopped"]);
    assert_all_accounted_for(&runner);
}

#[derive(serde::Serialize)]
struct Written;

impl defer_core::Job for Written {
    async fn run(&self, _: &defer_core::JobContext) -> defer_core::JobResult {
        Ok(())
    }
}

impl defer_core::Deferrable for Written {
    const NAME: &'static str = "Written";
    const POLICY: defer_core::Policy = defer_core::Policy::new();
}

#[tokio::test(start_paused = true)]
async fn a_delayed_job_starts_that_long_after_its_response_and_others_do_not_wait_for_it() {
    let (events, journal) = (Events::default(), Journal::default());
    let runner = events.runner().max_running(1).max_pending(1).build();
    scope(&runner, async {
        defer(noting::<Plain>(&journal)).delay(SECOND * 60);
        defer_note(&journal, "behind it");
        tokio::time::sleep(SECOND * 10).await;
    })
    .await;
    scope(&runner, async { defer_note(&journal, "another request") }).await;
    tokio::time::sleep(SECOND * 59).await;
    assert_eq!(journal.lines(), ["behind it", "another request"]);
    tokio::time::sleep(SECOND * 2).await;
    assert_eq!(journal.lines(), ["behind it", "another request", "Plain"]);
    // One that is not due at the deadline is named.
    scope(&runner, async { drop(defer(noting::<Plain>(&journal)).delay(SECOND * 60)) }).await;
    let report = runner.shutdown(SECOND).await;
    assert_eq!((report.unfinished.len(), journal.lines().len()), (1, 3));
    assert_all_accounted_for(&runner);
}

/// A hanging job of a queue type, its attempt's number and its being stopped noted.
fn hanging<K: Kind>(journal: &Journal) -> Does<K> {
    let journal = journal.clone();
    K::job(move |cx| {
        let journal = journal.clone();
        async move {
            if cx.attempt() < K::POLICY.tries() {
                return Err(JobError::msg("again"));
            }
            let _stopped = OnDrop(move || journal.note("stopped"));
            std::future::pending().await
        }
    })
}

#[tokio::test(start_paused = true)]
async fn at_the_end_of_a_shutdown_unfinished_jobs_for_the_queue_go_there() {
    let (events, journal) = (Events::default(), Journal::default());
    let queue = Memory::new(&[Push::Fails, Push::Fails]);
    let runner = events.runner().max_running(1).queue(queue.clone()).build();
    let tried_twice = scope(&runner, async { defer(hanging::<QueuedTwice>(&journal)).id() }).await;
    let waits = scope(&runner, async {
        let waits = defer(noting::<Queued>(&journal)).id();
        defer(noting::<Plain>(&journal));
        waits
    });
    tokio::time::sleep(SECOND * 2).await;
    let waits = waits.await;
    let report = runner.shutdown(SECOND).await;
    assert_eq!((report.queued, report.unfinished.len()), (2, 1));
    assert_eq!(report.unfinished[0].name, "Plain");
    let ids: Vec<_> = queue.envelopes.lock().unwrap().iter().map(|envelope| envelope.id).collect();
    assert_eq!(ids, [tried_twice, waits]);
    assert_eq!(events.of("QueuedTwice").last().unwrap(), "Queued 2");
    assert_all_accounted_for(&runner);
    tokio::time::sleep(SECOND * 10).await;
    assert_eq!(journal.lines(), ["stopped"]);
}

/// However it came to run here: a job of a queue type that is left goes to the queue.
#[tokio::test(start_paused = true)]
async fn at_the_end_of_a_shutdown_jobs_go_to_the_queue_whose_push_has_not_ended() {
    let (journal, queue) = (Journal::default(), Memory::new(&[Push::Waits]));
    let runner = Runner::builder().push_timeout(SECOND * 60).queue(queue.clone()).build();
    let list = scope(&runner, async { Defer::current().expect("a scope") }).await;
    list.push(noting::<Queued>(&journal));
    let report = runner.shutdown(SECOND).await;
    assert_eq!((report.queued, report.unfinished), (1, vec![]));
    assert_eq!((queue.names().len(), runner.stats().queued), (1, 1));
    // The first push ends too late to count.
    queue.turns.add_permits(1);
    tokio::time::sleep(SECOND).await;
    assert_eq!((queue.names().len(), runner.stats().queued, journal.lines().len()), (2, 1, 0));
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_handed_over_at_the_end_of_a_shutdown_does_not_run_here_too() {
    let (journal, queue) = (Journal::default(), Memory::new(&[Push::Fails, Push::Waits]));
    let runner = Runner::builder().max_running(1).queue(queue.clone()).build();
    let release = Arc::new(Semaphore::new(0));
    let (until, of_job) = (release.clone(), journal.clone());
    scope(&runner, async {
        defer(Plain::job(move |_| {
            let until = until.clone();
            async move {
                drop(until.acquire().await);
                Ok(())
            }
        }));
        defer(noting::<Queued>(&of_job));
        defer_note(&of_job, "not for the queue");
    })
    .await;
    let shutdown = tokio::spawn({
        let runner = runner.clone();
        async move { runner.shutdown(SECOND).await }
    });
    tokio::time::sleep(SECOND * 2).await;
    // The queue is slow, and the job before it ends.
    release.add_permits(1);
    tokio::time::sleep(SECOND).await;
    queue.turns.add_permits(1);
    let report = shutdown.await.unwrap();
    assert_eq!((report.queued, queue.names().len()), (1, 1));
    assert_eq!(journal.lines(), Vec::<String>::new());
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn if_the_queue_does_not_take_them_at_the_end_of_a_shutdown_they_are_named() {
    quiet_panics();
    for push in [Push::Fails, Push::Panics, Push::PanicsAtOnce] {
        let (journal, queue) = (Journal::default(), Memory::new(&[Push::Fails, push]));
        let runner = Runner::builder().queue(queue.clone()).build();
        scope(&runner, async { defer(hanging::<Queued>(&journal)) }).await;
        let report = runner.shutdown(SECOND).await;
        assert_eq!((report.queued, report.unfinished.len(), runner.stats().abandoned), (0, 1, 1));
        assert_all_accounted_for(&runner);
    }
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_hangs_does_not_keep_the_jobs_from_being_stopped() {
    let (journal, queue) = (Journal::default(), Memory::new(&[Push::Fails, Push::Waits]));
    let runner = Runner::builder().queue(queue).build();
    scope(&runner, async { defer(hanging::<Queued>(&journal)) }).await;
    let shutdown = tokio::time::timeout(SECOND * 60, runner.shutdown(SECOND));
    assert_eq!(shutdown.await.expect("it ends").unfinished.len(), 1);
    tokio::task::yield_now().await;
    assert_eq!(journal.lines(), ["stopped"]);
    assert_all_accounted_for(&runner);
}

#[derive(Default)]
struct Unwritable(Arc<AtomicUsize>);

/// Code of the user's that uses the list while it is written.
impl defer_core::Job for Unwritable {
    async fn run(&self, _: &defer_core::JobContext) -> defer_core::JobResult {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

static PANICS: AtomicBool = AtomicBool::new(false);

impl defer_core::Deferrable for Unwritable {
    const NAME: &'static str = "Unwritable";
    const POLICY: defer_core::Policy = defer_core::Policy::new().with_queue();
    const ENCODE: Option<fn(&Self) -> Result<Vec<u8>, BoxError>> = Some(|_| {
        assert!(!PANICS.load(Ordering::Relaxed), "on purpose");
        assert!(Defer::current().is_none_or(|list| list.len() <= 2));
        Err("not JSON".into())
    });
}

#[tokio::test(start_paused = true)]
async fn a_job_that_cannot_be_written_runs_here_and_an_event_says_so() {
    quiet_panics();
    for panics in [false, true] {
        PANICS.store(panics, Ordering::Relaxed);
        let (events, ran) = (Events::default(), Arc::new(AtomicUsize::new(0)));
        let runner = events.runner().queue(Memory::new(&[])).build();
        scope(&runner, async {
            defer(Unwritable(ran.clone()));
            defer(Unwritable(ran.clone()));
        })
        .await;
        runner.idle().await;
        assert_eq!((ran.load(Ordering::Relaxed), events.count("QueueFailed")), (2, 2));
        assert_all_accounted_for(&runner);
    }
}

/// An error that cannot be written.
#[derive(Debug)]
struct Unprintable;

impl std::fmt::Display for Unprintable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("on purpose");
    }
}

impl std::error::Error for Unprintable {}

/// A queue whose errors cannot be written.
struct Broken;

impl Queue for Broken {
    fn push(&self, _: Vec<Envelope>) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async { Err(Unprintable.into()) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_queue_whose_error_panics_when_it_is_written_breaks_nothing() {
    quiet_panics();
    let journal = Journal::default();
    let runner = Runner::builder().queue(Broken).build();
    let answer = scope(&runner, async {
        defer(noting::<Queued>(&journal));
        defer(noting::<Plain>(&journal));
        42
    });
    assert_eq!(answer.await, 42);
    runner.idle().await;
    assert_eq!(journal.lines(), ["Queued", "Plain"]);
    assert_all_accounted_for(&runner);

    scope(&runner, async { drop(defer(hanging::<Queued>(&journal))) }).await;
    assert_eq!(runner.shutdown(SECOND).await.unfinished.len(), 1);
    assert_all_accounted_for(&runner);
}

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Tenant(String);

/// Cannot be stored.
#[derive(Clone, serde::Deserialize)]
struct Unstorable;

impl serde::Serialize for Unstorable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("on purpose"))
    }
}

#[tokio::test]
async fn a_queued_job_takes_along_the_extensions_of_its_request_and_its_serial_key() {
    let (queue, journal) = (Memory::new(&[]), Journal::default());
    let runner = Runner::builder().queue(queue.clone()).build();
    scope(&runner, async {
        Defer::current().unwrap().insert_extension(Tenant("acme".into()));
        defer(noting::<Queued>(&journal)).serial("account:7");
        defer(noting::<Queued>(&journal));
    })
    .await;
    runner.idle().await;
    let envelopes: Vec<_> = queue.envelopes.lock().unwrap().drain(..).collect();
    assert_eq!(envelopes[0].serial.as_deref(), Some("account:7"));
    assert_eq!(envelopes[1].serial, None, "that is its own");

    let of_job = journal.clone();
    let job = QueuedTwice::job(move |cx| {
        let journal = of_job.clone();
        async move {
            let Tenant(name) = cx.extension()?;
            journal.note(name);
            // From the same request, but not in the same lane.
            defer(noting::<Queued>(&journal));
            Ok(())
        }
    });
    let resume = Resume::new(JobId::unique(), 0, envelopes[0].metadata.clone());
    runner.resume(job, resume).unwrap().ran().await;
    assert_eq!(journal.lines(), ["acme"]);
    let child = queue.envelopes.lock().unwrap()[0].clone();
    assert_eq!(child.serial, None);
    let child = child.metadata;
    let carried: Vec<_> = child.iter().filter(|(key, _)| key.ends_with("Tenant")).collect();
    assert_eq!(carried.len(), 1);
    assert_eq!(carried[0].1, "\"acme\"");

    // Stored by another version.
    let mut changed = envelopes[0].metadata.clone();
    changed.iter_mut().filter(|(key, _)| key.ends_with("Tenant")).for_each(|(_, value)| *value = "7".into());
    let job = Queued::job(|cx| async move { cx.extension::<Tenant>().map(drop).map_err(Into::into) });
    let resume = Resume::new(JobId::unique(), 0, changed);
    let ran = runner.resume(job, resume).unwrap().ran().await;
    let Ran::Failed { error, .. } = ran else { panic!("{ran:?}") };
    assert!(error.to_string().contains("has the type changed?"), "{error}");
}

#[tokio::test]
async fn a_job_whose_request_has_what_cannot_be_stored_runs_here() {
    let (events, queue, journal) = (Events::default(), Memory::new(&[]), Journal::default());
    let runner = events.runner().queue(queue.clone()).build();
    scope(&runner, async {
        Defer::current().unwrap().insert_extension(Unstorable);
        defer(noting::<Queued>(&journal));
    })
    .await;
    runner.idle().await;
    assert_eq!(journal.lines(), ["Queued"]);
    assert!(queue.names().is_empty());
    let error = &events.errors_of("Queued")[0];
    assert!(error.contains("Unstorable` of its request cannot be stored: on purpose"), "{error}");
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_a_shutdown_hands_over_takes_the_same_along() {
    let queue = Memory::new(&[Push::Fails]);
    let runner = Runner::builder().queue(queue.clone()).build();
    let request = RequestInfo::new(Method::GET, "/".parse().unwrap(), Version::HTTP_11);
    let mut scope = Scope::new(runner.clone());
    scope.enter(|| {
        Defer::current().unwrap().insert_extension(Tenant("acme".into()));
        defer(Queued::job(|_| std::future::pending())).serial("account:7");
    });
    scope.list().unwrap().set_request(request);
    scope.release(Some(ResponseInfo::new(Delivery::Unknown).with_status(Some(StatusCode::CREATED))));
    tokio::time::sleep(SECOND).await;
    assert_eq!(runner.stats().running, 1, "its push failed");
    let report = runner.shutdown(SECOND).await;
    assert_eq!(report.queued, 1);
    let envelope = queue.envelopes.lock().unwrap()[0].clone();
    assert_eq!(envelope.status, Some(StatusCode::CREATED));
    let metadata = envelope.metadata;
    assert_eq!((&*metadata["route"], envelope.serial.as_deref()), ("GET", Some("account:7")));
    assert!(metadata.keys().any(|key| key.ends_with("Tenant")), "{metadata:?}");
}

/// Fails, and hangs when it is told.
#[derive(serde::Serialize)]
struct HangsWhenTold;

impl defer_core::Job for HangsWhenTold {
    async fn run(&self, _: &defer_core::JobContext) -> defer_core::JobResult {
        Err(JobError::msg("on purpose"))
    }

    async fn failed(&self, _: &defer_core::JobContext, _: &JobError) {
        std::future::pending().await
    }
}

impl defer_core::Deferrable for HangsWhenTold {
    const NAME: &'static str = "HangsWhenTold";
    const POLICY: defer_core::Policy = defer_core::Policy::new().with_queue();
    const ENCODE: Option<fn(&Self) -> Result<Vec<u8>, BoxError>> = Some(|_| Ok(Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_told_that_it_is_given_up_is_handed_to_no_queue() {
    let queue = Memory::new(&[Push::Fails]);
    let runner = Runner::builder().queue(queue.clone()).build();
    scope(&runner, async { drop(defer(HangsWhenTold)) }).await;
    tokio::time::sleep(SECOND).await;
    let report = runner.shutdown(SECOND).await;
    assert_eq!((report.queued, report.unfinished.len()), (0, 1));
    assert!(queue.names().is_empty(), "it could yet succeed there");
    assert_all_accounted_for(&runner);
}

#[tokio::test]
async fn two_types_with_one_name_are_not_mistaken_for_each_other_on_a_queue() {
    // Local types have the name of their function.
    let other = {
        #[derive(Clone, serde::Serialize, serde::Deserialize)]
        struct Tenant(u32);
        Tenant(2)
    };
    let another = {
        #[derive(Clone, serde::Serialize, serde::Deserialize)]
        struct Tenant(u32);
        Tenant(3)
    };
    let (events, queue, journal) = (Events::default(), Memory::new(&[]), Journal::default());
    let runner = events.runner().queue(queue.clone()).build();
    scope(&runner, async {
        let handle = Defer::current().unwrap();
        handle.insert_extension(other);
        handle.insert_extension(another);
        defer(noting::<Queued>(&journal));
    })
    .await;
    runner.idle().await;
    assert!(queue.names().is_empty());
    assert_eq!(journal.lines(), ["Queued"], "it runs here, where they are told apart");
    assert!(events.errors_of("Queued")[0].contains("neither can be stored"));
}
