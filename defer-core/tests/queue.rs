//! Jobs for a queue: pushed at the end of their request, and what is left of them at the end of a shutdown.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use defer_core::{
    BoxError, BoxFuture, Defer, Delivery, Envelope, JobError, Queue, ResponseInfo, Runner, Scope, defer,
    scope,
};
use http::StatusCode;
use support::{
    Does, Events, Journal, Kind, OnDrop, Plain, Queued, QueuedOnSuccess, QueuedTwice, SECOND,
    assert_all_accounted_for, defer_note, quiet_panics,
};
use tokio::sync::Semaphore;

/// A queue in memory.
#[derive(Clone)]
struct Memory {
    envelopes: Arc<Mutex<Vec<Envelope>>>,
    /// What the next pushes do; when there is nothing left, they succeed.
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

fn noting<K: Kind>(journal: &Journal) -> Does<K> {
    let journal = journal.clone();
    K::job(move |_| {
        let journal = journal.clone();
        async move {
            journal.note(K::NAME);
            Ok(())
        }
    })
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
async fn a_response_that_is_dropped_while_the_queue_is_asked_loses_nothing() {
    let (queue, journal) = (Memory::new(&[Push::Waits]), Journal::default());
    let runner = Runner::builder().queue(queue.clone()).build();
    let response = scope(&runner, async { drop(defer(noting::<Queued>(&journal))) });
    tokio::time::timeout(SECOND, response).await.unwrap_err();
    runner.idle().await;
    assert_eq!((journal.lines().len(), queue.names().len()), (1, 0));
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_job_with_a_condition_runs_here_because_it_is_not_known_before_the_response() {
    let (queue, journal) = (Memory::new(&[]), Journal::default());
    let runner = Runner::builder().queue(queue.clone()).build();
    for (status, skipped) in [(StatusCode::OK, 0), (StatusCode::NOT_FOUND, 2)] {
        let mut request = Scope::new(runner.clone());
        request.enter(|| {
            defer(noting::<QueuedOnSuccess>(&journal));
            defer(noting::<Queued>(&journal)).when(|response| response.is_success());
            defer(noting::<QueuedOnSuccess>(&journal)).always();
        });
        request.list().unwrap().admit().await;
        request.release(Some(ResponseInfo::new(Delivery::Sent).with_status(Some(status))));
        runner.idle().await;
        assert_eq!(runner.stats().skipped, skipped);
    }
    assert_eq!(journal.lines(), ["QueuedOnSuccess", "Queued"]);
    assert_eq!(queue.names(), ["QueuedOnSuccess", "QueuedOnSuccess"]);
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
async fn at_the_end_of_a_shutdown_jobs_go_to_the_queue_that_were_never_pushed_before() {
    let (journal, queue) = (Journal::default(), Memory::new(&[]));
    let runner = Runner::builder().queue(queue.clone()).build();
    let of_job = journal.clone();
    scope(&runner, async {
        defer(Plain::job(move |_| {
            defer(hanging::<Queued>(&of_job));
            defer(noting::<Queued>(&of_job));
            async { Ok(()) }
        }))
    })
    .await;
    let list = scope(&runner, async { Defer::current().expect("a scope") }).await;
    list.push(hanging::<Queued>(&journal));
    list.push(noting::<Queued>(&journal));
    let report = runner.shutdown(SECOND).await;
    assert_eq!((report.queued, report.unfinished), (4, vec![]));
    assert_eq!((queue.names().len(), runner.stats().queued), (4, 4));
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
