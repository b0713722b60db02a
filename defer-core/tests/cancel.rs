//! Jobs that somebody cancels by their ids.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::{
    future::{Future, pending, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use defer_core::{
    Cancel, Deferrable, JobContext, JobError, JobId, JobResult, JobStatus, Runner, Scope, defer,
    queue::{Metadata, Resume},
    scope,
};
use support::{
    Alone, Beside, Blocking, Events, Journal, Kind, OnDrop, Patient, Plain, Queued, Rows, SECOND, Thrice,
    assert_all_accounted_for, assert_room_for, quiet_panics,
};
use tokio::sync::{mpsc, oneshot};

/// Defers a job outside of a request, and returns its id.
async fn deferred<J: Deferrable>(runner: &Runner, job: J) -> JobId {
    scope(runner, async { defer(job).id() }).await
}

/// A job of this type that says that it runs, and then waits for ever.
fn waiting<K: Kind>() -> (impl Deferrable, mpsc::UnboundedReceiver<JobContext>) {
    let (told, contexts) = mpsc::unbounded_channel();
    let job = K::job(move |cx| {
        told.send(cx).unwrap();
        pending()
    });
    (job, contexts)
}

fn runner() -> (Events, Runner) {
    let events = Events::default();
    let runner = events.runner().keep_outcomes(100).max_pending(10).build();
    (events, runner)
}

#[tokio::test(start_paused = true)]
async fn a_waiting_job_ends_as_cancelled_and_never_runs_whatever_it_waits_for() {
    let (events, runner) = runner();
    let journal = Journal::default();
    let note = || support::noting::<Plain>(&journal);
    let mut open = Scope::new(runner.clone());
    let of_an_open_request = open.enter(|| defer(note()).id());
    let delayed = scope(&runner, async { defer(note()).delay(SECOND).id() }).await;
    // Behind another of its request, its serial key and its type.
    let (first, mut contexts) = waiting::<Alone>();
    let (_first, behind) = scope(&runner, async {
        let first = defer(first).serial("key").id();
        (first, defer(note()).id())
    })
    .await;
    contexts.recv().await.unwrap();
    let serial = scope(&runner, async { defer(note()).serial("key").id() }).await;
    let (limited, _contexts) = waiting::<Alone>();
    let limited = deferred(&runner, limited).await;
    let survivor = scope(&runner, async { defer(note()).unique("key").delay(SECOND).id() }).await;
    let duplicate = scope(&runner, async { defer(note()).unique("key").id() }).await;
    tokio::time::sleep(SECOND / 2).await;
    for id in [of_an_open_request, delayed, behind, serial, limited, survivor] {
        assert_eq!(runner.cancel(id).await, Cancel::Cancelled);
        assert_eq!(runner.status(id).await, Some(JobStatus::Cancelled));
        assert_eq!(runner.cancel(id).await, Cancel::Ended);
    }
    assert_eq!(runner.cancel(duplicate).await, Cancel::Ended);
    assert_eq!(runner.cancel(JobId::unique()).await, Cancel::Unknown);
    open.release(None);
    assert_eq!(runner.cancel(_first).await, Cancel::Asked);
    tokio::time::sleep(SECOND * 2).await;
    runner.idle().await;
    assert!(journal.lines().is_empty(), "{:?}", journal.lines());
    assert_eq!((runner.stats().cancelled, events.count("Cancelled"), events.count("Duplicate")), (8, 7, 1));
    assert_all_accounted_for(&runner);
    assert_room_for(&runner, 10);
}

#[tokio::test(start_paused = true)]
async fn a_job_between_two_attempts_ends_as_cancelled_and_gives_its_room_back() {
    let (events, runner) = runner();
    let fails = Patient::job(|_| async { Err(JobError::msg("on purpose")) });
    let snoozes = Plain::job(|_| async { Err(JobError::snooze(SECOND * 60)) });
    let ids = [deferred(&runner, fails).await, deferred(&runner, snoozes).await];
    tokio::time::sleep(SECOND).await;
    for id in ids {
        assert_eq!(runner.status(id).await, Some(JobStatus::Pending));
        assert_eq!(runner.cancel(id).await, Cancel::Cancelled);
    }
    runner.idle().await;
    assert_eq!(events.of("Patient"), ["Deferred 0", "Started 1", "Retrying 1", "Cancelled 1"]);
    assert_eq!(events.of("Plain"), ["Deferred 0", "Started 1", "Snoozed 1", "Cancelled 0"]);
    tokio::time::sleep(SECOND * 7200).await;
    assert_eq!(runner.stats().cancelled, 2);
    assert_all_accounted_for(&runner);
    assert_room_for(&runner, 10);
}

/// The job is dropped, it ends as cancelled once, and what is behind it goes on.
async fn is_dropped_while_it_runs<K: Kind>() {
    let (events, runner) = runner();
    let journal = Journal::default();
    let (told, mut running) = mpsc::unbounded_channel();
    let noted = journal.clone();
    let job = K::job(move |_| {
        told.send(()).unwrap();
        let journal = noted.clone();
        async move {
            let _dropped = OnDrop(move || journal.note("dropped"));
            pending().await
        }
    });
    let id = scope(&runner, async {
        let id = defer(job).id();
        support::defer_note(&journal, "behind it");
        id
    })
    .await;
    running.recv().await.unwrap();
    assert_eq!(runner.cancel(id).await, Cancel::Asked);
    assert!(matches!(runner.cancel(id).await, Cancel::Asked | Cancel::Ended), "again");
    runner.idle().await;
    let mut lines = journal.lines();
    lines.sort();
    assert_eq!(lines, ["behind it", "dropped"]);
    assert_eq!(events.of(K::NAME), ["Deferred 0", "Started 1", "Cancelled 1"]);
    assert_eq!(runner.status(id).await, Some(JobStatus::Cancelled));
    assert_eq!(runner.cancel(id).await, Cancel::Ended);
    assert_eq!((runner.stats().cancelled, runner.stats().succeeded), (1, 1));
    assert_all_accounted_for(&runner);
    assert_room_for(&runner, 10);
}

#[tokio::test]
async fn a_job_that_runs_is_dropped_at_its_next_await_and_ends_as_cancelled() {
    is_dropped_while_it_runs::<Plain>().await;
    // With attempts left, in a task of its own, and by the detour.
    is_dropped_while_it_runs::<Thrice>().await;
    is_dropped_while_it_runs::<Beside>().await;
    is_dropped_while_it_runs::<Alone>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_runs_on_another_thread_is_dropped_at_its_next_await() {
    is_dropped_while_it_runs::<Plain>().await;
    is_dropped_while_it_runs::<Beside>().await;
}

#[tokio::test(start_paused = true)]
async fn a_later_attempt_is_stopped_too() {
    let (events, runner) = runner();
    let (told, mut contexts) = mpsc::unbounded_channel();
    let job = Thrice::job(move |cx| {
        let told = told.clone();
        async move {
            if cx.attempt() == 1 {
                return Err(JobError::msg("on purpose"));
            }
            told.send(cx)?;
            pending().await
        }
    });
    let id = deferred(&runner, job).await;
    contexts.recv().await.unwrap();
    assert_eq!(runner.cancel(id).await, Cancel::Asked);
    runner.idle().await;
    assert_eq!(events.of("Thrice"), ["Deferred 0", "Started 1", "Retrying 1", "Started 2", "Cancelled 2"]);
    assert_all_accounted_for(&runner);
}

/// Cancels a job that waits for that, and then does this. Returns how it ended.
async fn told<Fut>(then: impl Fn() -> Fut + Send + Sync + 'static) -> JobStatus
where
    Fut: Future<Output = JobResult> + Send + 'static,
{
    let (_, runner) = runner();
    let (told, mut contexts) = mpsc::unbounded_channel();
    let then = Arc::new(then);
    let job = Thrice::job(move |cx| {
        let (told, then) = (told.clone(), then.clone());
        async move {
            told.send(())?;
            // Asked anew each time, and by two who do not know of each other.
            let twice = tokio::spawn({
                let cx = cx.clone();
                async move { cx.cancelled().await }
            });
            tokio::select! {
                () = cx.cancelled() => {}
                () = pending() => {}
            }
            let result = then().await;
            twice.abort();
            result
        }
    });
    let id = deferred(&runner, job).await;
    contexts.recv().await.unwrap();
    tokio::task::yield_now().await;
    assert_eq!(runner.cancel(id).await, Cancel::Asked);
    runner.idle().await;
    assert_all_accounted_for(&runner);
    runner.status(id).await.unwrap()
}

#[tokio::test]
async fn a_job_that_waits_for_it_is_told_first_and_may_still_say_how_it_ends() {
    quiet_panics();
    let journal = Journal::default();
    let noted = journal.clone();
    let tidies = move || {
        noted.note("tidied");
        async { Err(JobError::msg("cancelled")) }
    };
    assert_eq!(told(tidies).await, JobStatus::Cancelled);
    assert_eq!(journal.lines(), ["tidied"]);
    assert_eq!(told(|| async { Ok(()) }).await, JobStatus::Succeeded);
    assert_eq!(told(|| async { panic!("on purpose") }).await, JobStatus::Cancelled);
    assert_eq!(told(|| async { Err(JobError::snooze(SECOND)) }).await, JobStatus::Cancelled);
    assert_eq!(told(pending).await, JobStatus::Cancelled, "dropped where it waits next");
}

#[tokio::test]
async fn a_job_that_is_cancelled_while_it_is_polled_is_polled_once_more_and_told() {
    let (_, runner) = runner();
    let (journal, of_job) = (Journal::default(), runner.clone());
    let noted = journal.clone();
    let id = deferred(
        &runner,
        Plain::job(move |cx| {
            let (journal, runner) = (noted.clone(), of_job.clone());
            async move {
                let (mut told, mut cancel) = (pin!(cx.cancelled()), pin!(runner.cancel(cx.id())));
                let mut is_asked = false;
                poll_fn(|task| {
                    let is_told = told.as_mut().poll(task);
                    if !is_asked {
                        // After this poll has found that nobody cancels it.
                        is_asked = cancel.as_mut().poll(task) == Poll::Ready(Cancel::Asked);
                    }
                    is_told
                })
                .await;
                journal.note("told");
                pending().await
            }
        }),
    )
    .await;
    runner.idle().await;
    assert_eq!(journal.lines(), ["told"]);
    assert_eq!(runner.status(id).await, Some(JobStatus::Cancelled));
}

#[tokio::test]
async fn who_has_a_jobs_context_is_told_though_the_job_is_dropped() {
    let (_, runner) = runner();
    let (job, mut contexts) = waiting::<Plain>();
    let id = deferred(&runner, job).await;
    let cx = contexts.recv().await.unwrap();
    let elsewhere = tokio::spawn(async move { cx.cancelled().await });
    tokio::task::yield_now().await;
    assert_eq!(runner.cancel(id).await, Cancel::Asked);
    elsewhere.await.unwrap();
    runner.idle().await;
    assert_eq!(runner.stats().cancelled, 1);
}

#[tokio::test]
async fn who_asks_after_a_cancelled_job_has_ended_is_told_at_once() {
    let (_, runner) = runner();
    let (job, mut contexts) = waiting::<Plain>();
    let id = deferred(&runner, job).await;
    let cx = contexts.recv().await.unwrap();
    assert_eq!(runner.cancel(id).await, Cancel::Asked);
    runner.idle().await;
    assert_eq!(runner.status(id).await, Some(JobStatus::Cancelled));
    let mut told = pin!(cx.cancelled());
    assert!(told.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocking_job_is_told_and_goes_on_until_it_returns() {
    for obeys in [true, false] {
        let (_, runner) = runner();
        let (told, mut running) = mpsc::unbounded_channel();
        let (go, gone) = oneshot::channel::<()>();
        let gone = Arc::new(tokio::sync::Mutex::new(Some(gone)));
        let job = Blocking::job(move |cx| {
            let (told, gone) = (told.clone(), gone.clone());
            async move {
                let gone = gone.lock().await.take();
                told.send("runs")?;
                cx.cancelled().await;
                told.send("told")?;
                if obeys {
                    return Err(JobError::msg("cancelled"));
                }
                drop(gone.unwrap().await);
                Ok(())
            }
        });
        let id = deferred(&runner, job).await;
        assert_eq!(running.recv().await, Some("runs"));
        assert_eq!(runner.cancel(id).await, Cancel::Asked);
        assert_eq!(running.recv().await, Some("told"));
        if !obeys {
            assert_eq!(runner.status(id).await, Some(JobStatus::Running), "it is not let go");
        }
        let _ = go.send(());
        runner.idle().await;
        let expected = if obeys { JobStatus::Cancelled } else { JobStatus::Succeeded };
        assert_eq!(runner.status(id).await, Some(expected));
        assert_all_accounted_for(&runner);
    }
}

/// Is told that it is given up, and says so.
struct GivesUp(mpsc::UnboundedSender<&'static str>, Arc<tokio::sync::Notify>);

impl defer_core::Job for GivesUp {
    async fn run(&self, cx: &JobContext) -> JobResult {
        self.0.send("runs")?;
        cx.cancelled().await;
        Err(JobError::msg("cancelled"))
    }

    async fn failed(&self, _: &JobContext, _: &JobError) {
        self.0.send("is given up").unwrap();
        self.1.notified().await;
    }
}

impl Deferrable for GivesUp {
    const NAME: &'static str = "GivesUp";
    const POLICY: defer_core::Policy = defer_core::Policy::new().with_timeout(SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_job_is_not_told_that_it_is_given_up_and_one_that_is_being_told_ends_as_failed() {
    let (_, runner) = runner();
    let (told, mut tells) = mpsc::unbounded_channel();
    let go = Arc::new(tokio::sync::Notify::new());
    let id = deferred(&runner, GivesUp(told.clone(), go.clone())).await;
    assert_eq!(tells.recv().await, Some("runs"));
    assert_eq!(runner.cancel(id).await, Cancel::Asked);
    runner.idle().await;
    assert_eq!(runner.status(id).await, Some(JobStatus::Cancelled));

    let id = deferred(&runner, GivesUp(told, go.clone())).await;
    assert_eq!(tells.recv().await, Some("runs"));
    assert_eq!(tells.recv().await, Some("is given up"), "it took too long");
    assert_eq!(runner.cancel(id).await, Cancel::Asked);
    tokio::task::yield_now().await;
    assert_eq!(runner.stats().running, 1, "it is told to the end");
    go.notify_one();
    runner.idle().await;
    assert_eq!(runner.stats().failed, 1);
    assert_all_accounted_for(&runner);
}

#[tokio::test]
async fn a_job_of_the_queue_is_cancelled_by_it() {
    let rows = Rows::default();
    let runner = Runner::builder().keep_outcomes(10).queue(rows.clone()).build();
    let id = deferred(&runner, Queued::job(|_| async { Ok(()) })).await;
    runner.idle().await;
    assert_eq!(runner.cancel(id).await, Cancel::Unknown, "it has forgotten it");
    for answer in [Cancel::Cancelled, Cancel::Asked, Cancel::Ended] {
        rows.answer_cancel(id, answer);
        assert_eq!(runner.cancel(id).await, answer);
    }
    rows.cut_off(true);
    assert_eq!(runner.cancel(id).await, Cancel::Failed);
    let in_memory = deferred(&runner, Plain::job(|_| async { Ok(()) })).await;
    runner.idle().await;
    assert_eq!(runner.cancel(in_memory).await, Cancel::Ended, "known here");
}

#[tokio::test]
async fn a_job_that_an_engines_worker_runs_here_is_cancelled_by_that_engine() {
    let rows = Rows::default();
    let runner = Runner::builder().keep_outcomes(10).queue(rows.clone()).build();
    let (job, mut contexts) = waiting::<Queued>();
    let id = JobId::unique();
    let mut resumed = runner.resume(job, Resume::new(id, 0, Metadata::new())).unwrap();
    contexts.recv().await.unwrap();
    assert_eq!(runner.cancel(id).await, Cancel::Failed, "it does not know it");
    rows.answer_cancel(id, Cancel::Asked);
    assert_eq!(runner.cancel(id).await, Cancel::Asked);
    tokio::task::yield_now().await;
    assert_eq!(runner.stats().running, 1, "stopped here it would be run again");
    let ran = tokio::time::timeout(std::time::Duration::ZERO, resumed.ran()).await;
    assert!(ran.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_it_races_with_starts_ends_retries_and_a_shutdown_a_job_ends_once() {
    for round in 0..200 {
        let (events, runner) = runner();
        let polls = Arc::new(AtomicUsize::new(0));
        let mut ids = Vec::new();
        let list = scope(&runner, async {
            for at in 0..6 {
                let polls = polls.clone();
                let work = move |_| {
                    let polls = polls.clone();
                    async move {
                        for _ in 0..(round + at) % 5 {
                            polls.fetch_add(1, Ordering::Relaxed);
                            tokio::task::yield_now().await;
                        }
                        if at % 3 == 0 {
                            Err(JobError::msg("no").retry_after(Default::default()))
                        } else {
                            Ok(())
                        }
                    }
                };
                ids.push(match at % 3 {
                    1 => defer(Beside::job(work)).id(),
                    _ => defer(Thrice::job(work)).id(),
                });
            }
        });
        list.await;
        let cancels = ids.iter().map(|id| {
            let (runner, id) = (runner.clone(), *id);
            tokio::spawn(async move {
                for _ in 0..id.to_string().len() % 3 {
                    tokio::task::yield_now().await;
                }
                runner.cancel(id).await
            })
        });
        let cancels: Vec<_> = cancels.collect();
        let shutdown = (round % 2 == 0).then(|| {
            let runner = runner.clone();
            tokio::spawn(async move { runner.shutdown(std::time::Duration::ZERO).await })
        });
        for (id, cancel) in ids.iter().zip(cancels) {
            let cancel = cancel.await.unwrap();
            runner.idle().await;
            let status = runner.status(*id).await.unwrap();
            assert!(cancel != Cancel::Cancelled || status == JobStatus::Cancelled, "{cancel:?}, {status:?}");
            assert_ne!(cancel, Cancel::Unknown);
        }
        if let Some(shutdown) = shutdown {
            shutdown.await.unwrap();
        }
        runner.idle().await;
        let ends = |id| events.all().iter().filter(|event| event.id == id && event.is_final()).count();
        assert!(ids.iter().all(|id| ends(*id) == 1), "{:?}", events.all());
        assert_all_accounted_for(&runner);
    }
}
