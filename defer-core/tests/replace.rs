//! Jobs that take the place of one that waits, and jobs that run at most so often.
//!
//! Time is paused in each test that sleeps: a sleep lets virtual time pass.

#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::{
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use defer_core::{
    Cancel, Defer, Deferred, Delivery, JobError, JobId, JobResult, JobStatus, ResponseInfo, Runner, Scope,
    defer, defer_fn, scope, testing::Recorder,
};
use futures_core::Stream;
use http::StatusCode;
use support::{
    Beside, Events, Journal, Kind, Other, Plain, Queued, RunNow, SECOND, Thrice, assert_all_accounted_for,
    assert_room_for, quiet_panics,
};
use tokio::time::Instant;

/// Notes at which second it runs.
fn notes<K: Kind>(journal: &Journal, what: impl ToString) -> support::Does<K> {
    let (journal, what, start) = (journal.clone(), what.to_string(), start());
    K::job(move |_| {
        journal.note(format!("{what} at {}", start.elapsed().as_secs()));
        async { JobResult::Ok(()) }
    })
}

/// When the test started.
fn start() -> Instant {
    thread_local!(static START: Instant = Instant::now());
    START.with(|start| *start)
}

/// A request that defers one job, and whose response is over.
async fn request(runner: &Runner, defers: impl FnOnce() -> Deferred) -> Deferred {
    scope(runner, async { defers() }).await
}

fn sync(journal: &Journal, what: impl ToString) -> Deferred {
    defer(notes::<Plain>(journal, what)).unique("sync:42")
}

async fn next(statuses: &mut Pin<&mut (impl Stream<Item = JobStatus> + ?Sized)>) -> Option<JobStatus> {
    std::future::poll_fn(|cx| statuses.as_mut().poll_next(cx)).await
}

#[tokio::test(start_paused = true)]
async fn the_last_of_many_runs_when_the_first_would_have() {
    start();
    let (events, journal) = (Events::default(), Journal::default());
    let runner = events.runner().build();
    for number in 0..10 {
        let job = request(&runner, || sync(&journal, number).replace().delay(SECOND * 5)).await;
        assert!(!job.is_duplicate());
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    runner.idle().await;
    assert_eq!(journal.lines(), ["9 at 5"]);
    assert_eq!((runner.stats().succeeded, runner.stats().cancelled), (1, 9));
    assert_eq!(events.count("Duplicate"), 9);
    request(&runner, || sync(&journal, "later").replace().delay(SECOND)).await;
    runner.idle().await;
    assert_eq!(journal.lines()[1..], ["later at 6"], "what has run keeps no place");
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn the_order_of_the_calls_does_not_matter() {
    start();
    let (runner, journal) = (Runner::default(), Journal::default());
    let calls: [fn(&Deferred) -> Deferred; 4] = [
        |job| job.unique("k").replace().delay(SECOND * 9),
        |job| job.replace().unique("k").delay(SECOND * 9),
        |job| job.delay(SECOND * 9).replace().unique("k"),
        |job| job.delay(SECOND * 9).unique("k").replace(),
    ];
    let first =
        request(&runner, || defer(notes::<Plain>(&journal, "first")).unique("k").delay(SECOND * 5)).await;
    let mut before = first;
    for (number, call) in calls.iter().enumerate() {
        let job = request(&runner, || call(&defer(notes::<Plain>(&journal, number)))).await;
        assert!(before.is_duplicate() && !job.is_duplicate());
        before = job;
    }
    runner.idle().await;
    assert_eq!(journal.lines(), ["3 at 5"]);
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_stays_one_unless_it_replaces() {
    let (runner, journal) = (Runner::default(), Journal::default());
    request(&runner, || sync(&journal, "first").delay(SECOND)).await;
    let handle = scope(&runner, async {
        let second = sync(&journal, "second");
        assert!(second.is_duplicate(), "so far");
        second.replace();
        assert!(!second.is_duplicate());
        let third = sync(&journal, "third");
        assert!(third.is_duplicate());
        third
    })
    .await;
    assert!(handle.is_duplicate());
    handle.replace();
    assert!(handle.is_duplicate(), "it is too late for that");
    runner.idle().await;
    assert_eq!(runner.stats().cancelled, 2);
    assert_eq!(journal.lines().len(), 1);
    assert!(journal.lines()[0].starts_with("second"));
}

#[tokio::test(start_paused = true)]
async fn each_one_starts_its_delay_anew_but_no_longer_than_the_maximum() {
    start();
    let (runner, journal) = (Runner::default(), Journal::default());
    let edit = |what: &'static str| {
        let (runner, journal) = (runner.clone(), journal.clone());
        async move {
            request(&runner, || sync(&journal, what).replace_within(SECOND * 10).delay(SECOND * 4)).await
        }
    };
    for what in ["a", "b", "c"] {
        edit(what).await;
        tokio::time::sleep(SECOND * 3).await;
    }
    runner.idle().await;
    assert_eq!(journal.lines(), ["c at 10"], "4 s after the last, of which 10 s after the first are the end");
    for what in ["d", "e"] {
        edit(what).await;
        tokio::time::sleep(SECOND).await;
    }
    runner.idle().await;
    assert_eq!(journal.lines()[1..], ["e at 15"], "4 s after the last");
    // The first alone waits no longer either.
    request(&runner, || sync(&journal, "f").replace_within(SECOND * 2).delay(SECOND * 60)).await;
    runner.idle().await;
    assert_eq!(journal.lines()[2..], ["f at 17"]);
    assert_all_accounted_for(&runner);
    assert_room_for(&runner, 65_536);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_edits_run_once_and_each_id_leads_to_the_job_that_runs() {
    start();
    let journal = Journal::default();
    let runner = Runner::builder().keep_outcomes(10_000).build();
    let mut ids: Vec<JobId> = Vec::new();
    let first = request(&runner, || sync(&journal, 0).replace().delay(SECOND * 60)).await.id();
    let mut watched = pin!(runner.watch(first));
    assert_eq!(next(&mut watched).await, Some(JobStatus::Pending));
    for number in 1..=1_000 {
        ids.push(request(&runner, || sync(&journal, number).replace().delay(SECOND * 60)).await.id());
        if number % 100 == 0 {
            // It follows each of them, one after another.
            assert!(futures_poll(&mut watched).is_none(), "it still waits");
        }
    }
    let last = *ids.last().unwrap();
    for id in [first, ids[0], ids[500], ids[998]] {
        assert_eq!(runner.status(id).await, Some(JobStatus::duplicate(last)));
    }
    let mut fresh = pin!(runner.watch(first));
    assert_eq!(next(&mut fresh).await, Some(JobStatus::Pending));
    for watched in [&mut fresh as &mut (dyn Stream<Item = JobStatus> + Unpin), &mut watched] {
        let (mut watched, mut last) = (Pin::new(watched), None);
        while let Some(status) = next(&mut watched).await {
            last = Some(status);
        }
        assert_eq!(last, Some(JobStatus::Succeeded));
    }
    assert_eq!(journal.lines(), ["1000 at 60"]);
    assert_eq!(runner.stats().cancelled, 1_000);
}

fn futures_poll(statuses: &mut Pin<&mut impl Stream<Item = JobStatus>>) -> Option<JobStatus> {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match statuses.as_mut().poll_next(&mut cx) {
        std::task::Poll::Ready(status) => Some(status.expect("the job has not ended")),
        std::task::Poll::Pending => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_runs_is_not_replaced() {
    let (runner, journal) = (Runner::default(), Journal::default());
    let work = journal.clone();
    let first = request(&runner, || {
        defer_fn(|_| async move {
            work.note("+first");
            tokio::time::sleep(SECOND).await;
            work.note("-first");
        })
        .unique("sync:42")
        .replace()
    })
    .await;
    tokio::task::yield_now().await;
    assert_eq!(journal.lines(), ["+first"]);
    let (a, b) = (journal.clone(), journal.clone());
    request(&runner, || {
        defer_fn(|_| async move { a.note("a") }).unique("sync:42").delay(SECOND * 2).replace()
    })
    .await;
    request(&runner, || defer_fn(|_| async move { b.note("b") }).unique("sync:42").replace()).await;
    runner.idle().await;
    assert_eq!(journal.lines(), ["+first", "-first", "b"]);
    assert!(!first.is_duplicate());
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn whoever_takes_the_place_of_a_job_that_others_rely_on_is_relied_on() {
    let journal = Journal::default();
    let runner = Runner::builder().keep_outcomes(100).build();
    let first = request(&runner, || sync(&journal, "first").delay(SECOND)).await;
    let out = request(&runner, || sync(&journal, "out")).await;
    assert!(out.is_duplicate() && !first.cancel());
    let second = request(&runner, || sync(&journal, "second").replace()).await;
    assert!(first.is_duplicate());
    assert!(!second.cancel(), "two rely on it");
    second.when(|_| false);
    assert_eq!(runner.status(out.id()).await, Some(JobStatus::duplicate(second.id())));
    // It can be cancelled by its id, and the watchers of the others see that.
    assert_eq!(runner.cancel(second.id()).await, Cancel::Cancelled);
    assert_eq!(runner.cancel(first.id()).await, Cancel::Ended);
    let mut statuses = pin!(runner.watch(out.id()));
    assert_eq!(next(&mut statuses).await, Some(JobStatus::Cancelled));
    runner.idle().await;
    assert!(journal.lines().is_empty());
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_relies_on_can_be_cancelled() {
    let (runner, journal) = (Runner::builder().max_running(1).build(), Journal::default());
    let busy = request(&runner, || defer_fn(|_| tokio::time::sleep(SECOND))).await;
    let job = request(&runner, || sync(&journal, "first").replace()).await;
    assert!(job.cancel() && !job.is_duplicate() && !busy.is_duplicate());
    let other = request(&runner, || sync(&journal, "second").replace()).await;
    assert!(!job.is_duplicate() && !other.is_duplicate(), "one that was cancelled has no place");
    runner.idle().await;
    assert_eq!(journal.lines().len(), 1);
}

fn ok(status: u16) -> ResponseInfo {
    ResponseInfo::new(Delivery::Sent).with_status(Some(StatusCode::from_u16(status).unwrap()))
}

fn open<T>(runner: &Runner, defers: impl FnOnce() -> T) -> (Scope, T) {
    let mut scope = Scope::new(runner.clone());
    let deferred = scope.enter(defers);
    (scope, deferred)
}

#[tokio::test(start_paused = true)]
async fn a_conditional_job_replaces_once_it_is_sure_to_run() {
    start();
    let (runner, journal) = (Runner::default(), Journal::default());
    let first = request(&runner, || sync(&journal, "first").delay(SECOND * 5)).await;
    // One that is skipped replaces none.
    let (failed, _) = open(&runner, || sync(&journal, "failed").replace().on_success());
    failed.release(Some(ok(500)));
    let (when_not, _) = open(&runner, || sync(&journal, "when not").replace().when(|_| false));
    when_not.release(Some(ok(200)));
    tokio::time::sleep(SECOND).await;
    assert!(!first.is_duplicate());
    assert_eq!(runner.stats().skipped, 2);
    // One whose predicate was true does, once it was asked.
    let (when, second) =
        open(&runner, || sync(&journal, "second").replace().when(|response| response.is_success()));
    when.release(Some(ok(200)));
    assert!(!first.is_duplicate());
    tokio::time::sleep(SECOND).await;
    assert!(first.is_duplicate() && !second.is_duplicate());
    let (success, third) = open(&runner, || sync(&journal, "third").replace().on_success());
    success.release(Some(ok(200)));
    assert!(second.is_duplicate() && !third.is_duplicate());
    runner.idle().await;
    assert_eq!(journal.lines(), ["third at 5"]);
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_job_of_a_request_that_is_open_is_not_replaced_and_two_of_one_request_replace_each_other() {
    start();
    let (runner, journal) = (Runner::default(), Journal::default());
    let (scope, open_job) = open(&runner, || sync(&journal, "open").replace().delay(SECOND * 9));
    request(&runner, || sync(&journal, "first").replace().delay(SECOND * 2)).await;
    assert!(!open_job.is_duplicate());
    scope.release(None);
    tokio::time::sleep(SECOND * 3).await;
    assert_eq!(journal.lines(), ["open at 2"], "in the place of the one whose response was over");
    let (scope, jobs) = open(&runner, || {
        [
            sync(&journal, "a").replace().delay(SECOND),
            sync(&journal, "b").replace().delay(SECOND * 9),
            sync(&journal, "c"),
        ]
    });
    scope.release(None);
    assert_eq!(jobs.map(|job| job.is_duplicate()), [true, false, true]);
    runner.idle().await;
    assert_eq!(journal.lines()[1..], ["b at 4"]);
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_job_of_another_type_and_kind_takes_the_place_too() {
    start();
    let (runner, journal) = (Runner::default(), Journal::default());
    request(&runner, || sync(&journal, "plain").replace().delay(SECOND * 3)).await;
    request(&runner, || defer(notes::<Beside>(&journal, "beside")).unique("sync:42").replace()).await;
    request(&runner, || defer(notes::<Thrice>(&journal, "thrice")).unique("sync:42").replace()).await;
    request(&runner, || defer(notes::<Other>(&journal, "other")).unique("sync:42").replace()).await;
    runner.idle().await;
    assert_eq!(journal.lines(), ["other at 3"]);
    assert_eq!(runner.stats().cancelled, 3);
    assert_all_accounted_for(&runner);
    assert_room_for(&runner, 65_536);
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_in_its_place_keeps_no_turn_of_its_serial_key() {
    start();
    let (runner, journal) = (Runner::default(), Journal::default());
    request(&runner, || sync(&journal, "first").replace().delay(SECOND * 5)).await;
    request(&runner, || sync(&journal, "second").replace().serial("account:7")).await;
    request(&runner, || defer(notes::<Plain>(&journal, "other")).serial("account:7")).await;
    runner.idle().await;
    assert_eq!(journal.lines(), ["other at 0", "second at 5"]);
    // And the other way round: its own delay is longer, but its place is due.
    let busy = runner.clone();
    request(&busy, || defer_fn(|_| tokio::time::sleep(SECOND * 2)).serial("account:7")).await;
    request(&runner, || sync(&journal, "third").replace().serial("account:7")).await;
    request(&runner, || sync(&journal, "fourth").replace().serial("account:7").delay(SECOND * 60)).await;
    runner.idle().await;
    assert_eq!(journal.lines()[2..], ["fourth at 7"]);
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn it_works_for_what_is_deferred_after_the_response_and_in_jobs_too() {
    start();
    let (runner, journal) = (Runner::default(), Journal::default());
    let handle = scope(&runner, async { Defer::current().unwrap() }).await;
    for what in ["a", "b", "c"] {
        let journal = journal.clone();
        handle.push(notes::<Plain>(&journal, what)).unique("k").replace_within(SECOND * 5).delay(SECOND * 3);
        tokio::time::sleep(SECOND * 2).await;
    }
    runner.idle().await;
    assert_eq!(journal.lines(), ["c at 5"]);
    let (inner, of_runner) = (journal.clone(), runner.clone());
    request(&of_runner, || {
        defer_fn(move |_| async move {
            for number in 0..5 {
                sync(&inner, number).replace().delay(SECOND * 2);
                tokio::time::sleep(SECOND / 10).await;
            }
        })
    })
    .await;
    runner.idle().await;
    assert_eq!(journal.lines()[1..], ["4 at 8"]);
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_snoozes_is_replaced_at_its_time() {
    start();
    let (runner, journal) = (Runner::default(), Journal::default());
    let work = journal.clone();
    request(&runner, || {
        let snoozes = Plain::job(move |_| {
            work.note("snoozes");
            async { Err(JobError::snooze(SECOND * 4)) }
        });
        defer(snoozes).unique("sync:42")
    })
    .await;
    tokio::time::sleep(SECOND).await;
    request(&runner, || sync(&journal, "second").replace()).await;
    runner.idle().await;
    assert_eq!(journal.lines(), ["snoozes", "second at 4"]);
    assert_all_accounted_for(&runner);
}

/// Panics when it is dropped, and uses the runner.
struct Bomb(Runner, Journal);

impl Drop for Bomb {
    fn drop(&mut self) {
        // Would wait for ever under a lock of the runner's.
        let _ = self.0.stats();
        scope_now(&self.0, || drop(defer_fn(|_| async {}).unique("sync:42")));
        self.1.note("dropped");
        if !std::thread::panicking() {
            panic!("on purpose");
        }
    }
}

fn scope_now(runner: &Runner, f: impl FnOnce()) {
    let (scope, ()) = open(runner, f);
    scope.release(None);
}

#[tokio::test(start_paused = true)]
async fn a_replaced_job_may_use_the_runner_and_panic_when_it_is_dropped() {
    quiet_panics();
    let (runner, journal) = (Runner::default(), Journal::default());
    for delay in [SECOND, Duration::ZERO] {
        let bomb = Bomb(runner.clone(), journal.clone());
        request(&runner, || {
            let job = defer_fn(move |_| async move { drop(bomb) }).unique("sync:42");
            if delay.is_zero() { job } else { job.delay(delay) }
        })
        .await;
        request(&runner, || sync(&journal, "second").replace()).await;
        runner.idle().await;
    }
    assert_eq!(journal.lines().iter().filter(|line| *line == "dropped").count(), 2);
    assert_all_accounted_for(&runner);
    assert_room_for(&runner, 65_536);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_the_job_that_has_the_place() {
    start();
    let (runner, journal) = (Runner::default(), Journal::default());
    for what in ["first", "second"] {
        request(&runner, || sync(&journal, what).replace().delay(SECOND * 5)).await;
    }
    let report = runner.shutdown(SECOND * 10).await;
    assert_eq!((report.completed, report.unfinished.len()), (1, 0));
    assert_eq!(journal.lines(), ["second at 5"]);

    let runner = Runner::default();
    for what in ["third", "fourth"] {
        request(&runner, || defer(notes::<RunNow>(&journal, what)).unique("k").replace().delay(SECOND * 500))
            .await;
    }
    runner.shutdown(SECOND * 10).await;
    assert_eq!(journal.lines()[1..], ["fourth at 5"]);
    let late = request(&runner, || sync(&journal, "late").replace()).await;
    assert!(!late.is_duplicate());
}

#[tokio::test(start_paused = true)]
async fn a_key_may_be_long_and_a_delay_too() {
    start();
    let (runner, journal) = (Runner::default(), Journal::default());
    let key = "k".repeat(1 << 20);
    let job = |what: &'static str| defer(notes::<Plain>(&journal, what)).unique(&key);
    let first = request(&runner, || job("first").delay(Duration::MAX).replace()).await;
    let second = request(&runner, || job("second").replace()).await;
    assert!(first.is_duplicate());
    tokio::time::sleep(SECOND).await;
    assert!(journal.lines().is_empty(), "the first would not have started either");
    request(&runner, || job("third").replace_within(Duration::MAX).delay(SECOND)).await;
    assert!(second.is_duplicate());
    runner.idle().await;
    assert_eq!(journal.lines(), ["third at 2"]);
    defer_every(&runner, &journal, &key, Duration::MAX, "a").await;
    defer_every(&runner, &journal, &key, Duration::MAX, "b").await;
    runner.idle().await;
    assert_eq!(journal.lines()[1..], ["a at 2"]);
}

async fn defer_every(
    runner: &Runner,
    journal: &Journal,
    key: &str,
    every: Duration,
    what: &'static str,
) -> Deferred {
    request(runner, || defer(notes::<Plain>(journal, what)).at_most_every(key, every)).await
}

#[tokio::test(start_paused = true)]
async fn a_job_runs_now_and_then_not_for_a_while() {
    start();
    let (events, journal) = (Events::default(), Journal::default());
    let runner = events.runner().keep_outcomes(100).build();
    let first = defer_every(&runner, &journal, "scan", SECOND * 60, "first").await;
    tokio::time::sleep(SECOND * 59).await;
    let second = defer_every(&runner, &journal, "scan", SECOND * 60, "second").await;
    let other = defer_every(&runner, &journal, "other", SECOND * 60, "other").await;
    tokio::time::sleep(SECOND / 10).await;
    assert!(second.is_duplicate() && !first.is_duplicate() && !other.is_duplicate());
    assert_eq!(runner.status(second.id()).await, Some(JobStatus::duplicate(first.id())));
    assert_eq!((events.count("Duplicate"), runner.stats().cancelled), (1, 1));
    tokio::time::sleep(SECOND).await;
    defer_every(&runner, &journal, "scan", SECOND * 60, "third").await;
    runner.idle().await;
    assert_eq!(journal.lines(), ["first at 0", "other at 59", "third at 60"]);
    assert_all_accounted_for(&runner);
    assert_room_for(&runner, 65_536);
}

#[tokio::test(start_paused = true)]
async fn how_often_is_asked_when_the_job_is_about_to_start() {
    start();
    let (runner, journal) = (Runner::builder().max_running(1).build(), Journal::default());
    let scan = |what: &'static str| defer(notes::<Plain>(&journal, what)).at_most_every("scan", SECOND * 10);
    // Skipped, cancelled and delayed ones count only once they start.
    let (skips, _) = open(&runner, || scan("skipped").on_success());
    skips.release(Some(ok(500)));
    request(&runner, || scan("delayed").delay(SECOND * 5)).await;
    assert_eq!(
        runner.cancel(request(&runner, || scan("cancelled").delay(SECOND)).await.id()).await,
        Cancel::Cancelled
    );
    request(&runner, || scan("first")).await;
    request(&runner, || scan("second")).await;
    runner.idle().await;
    assert_eq!(journal.lines(), ["first at 0"]);
    assert_eq!((runner.stats().skipped, runner.stats().cancelled), (1, 3));
    // With a serial key and others for which a job with its unique key was left out: another runs in its place.
    tokio::time::sleep(SECOND * 6).await;
    let relied_on = request(&runner, || scan("third").unique("k").serial("s").delay(SECOND)).await;
    request(&runner, || scan("fourth").unique("k")).await;
    request(&runner, || scan("fifth").serial("s")).await;
    runner.idle().await;
    assert!(relied_on.is_duplicate());
    assert_eq!(journal.lines()[1..], ["fifth at 11"]);
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn another_attempt_is_not_asked_again() {
    let (runner, journal) = (Runner::default(), Journal::default());
    let work = journal.clone();
    request(&runner, || {
        defer(Thrice::job(move |cx| {
            let work = work.clone();
            async move {
                work.note(cx.attempt());
                match cx.attempt() {
                    1 => Err(JobError::msg("on purpose")),
                    2 if work.lines().len() == 2 => Err(JobError::snooze(SECOND)),
                    _ => Ok(()),
                }
            }
        }))
        .at_most_every("scan", SECOND * 3600)
    })
    .await;
    runner.idle().await;
    assert_eq!(journal.lines(), ["1", "2", "2"]);
    assert_all_accounted_for(&runner);
}

#[tokio::test]
async fn a_recorder_shows_the_one_that_is_left() {
    let recorder = Recorder::new();
    let journal = Journal::default();
    for what in ["a", "b", "c"] {
        request(recorder.runner(), || {
            defer(notes::<Plain>(&journal, what))
                .unique("k")
                .replace_within(SECOND * 9)
                .delay(SECOND)
                .at_most_every("e", SECOND)
        })
        .await;
    }
    let recorded = recorder.recorded();
    assert_eq!(recorded.len(), 1);
    assert_eq!(recorded[0].unique_key(), Some("k"));
    assert_eq!(recorded[0].delay(), Some(SECOND));
    assert_eq!(recorded[0].at_most_every(), Some(("e", SECOND)));
    assert_eq!(format!("{:?}", recorded[0].replace()), "Some(Within(9s))");
    recorder.skip_waits();
    recorder.run_all_ok().await;
    assert_eq!(journal.lines().len(), 1);
    assert!(journal.lines()[0].starts_with('c'));
}

#[tokio::test(start_paused = true)]
async fn a_durable_job_whose_queue_is_away_replaces_here() {
    start();
    let journal = Journal::default();
    let queue = defer_core::testing::TestQueue::new();
    queue.set_away(true);
    let runner = Runner::builder().queue(queue).build();
    for what in ["a", "b"] {
        request(&runner, || {
            defer(notes::<Queued>(&journal, what))
                .unique("k")
                .replace()
                .delay(SECOND * 2)
                .at_most_every("e", SECOND)
        })
        .await;
    }
    runner.idle().await;
    assert_eq!(journal.lines(), ["b at 2"]);
    assert_all_accounted_for(&runner);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_threads_that_replace_at_once_the_last_word_is_heard() {
    let runner = Runner::builder().keep_outcomes(100_000).build();
    for _ in 0..50 {
        let value = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let seen = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let (runner, value, seen) = (runner.clone(), value.clone(), seen.clone());
                tokio::spawn(async move {
                    for _ in 0..10 {
                        let (value, seen) = (value.clone(), seen.clone());
                        value.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        request(&runner, || {
                            defer_fn(|_| async move {
                                let now = value.load(std::sync::atomic::Ordering::SeqCst);
                                seen.fetch_max(now, std::sync::atomic::Ordering::SeqCst);
                            })
                            .unique("sync")
                            .replace()
                        })
                        .await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        runner.idle().await;
        assert_eq!(seen.load(std::sync::atomic::Ordering::SeqCst), 80, "no change is missed");
    }
    assert_all_accounted_for(&runner);
}
