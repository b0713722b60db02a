//! Jobs that take turns with those of other requests, and jobs that leave their line.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use defer_core::{
    BoxError, BoxFuture, Defer, Deferred, Delivery, JobError, JobId, Overflow, ResponseInfo, Runner, Scope,
    defer, defer_fn,
    queue::{Envelope, Metadata, Queue, Resume},
    scope,
};
use http::StatusCode;
use support::{
    Alone, Beside, BesideAlone, BesideOnSuccess, BesideQueued, BesideThrice, Does, Events, Journal, Kind,
    Narrow, Patient, Plain, Queued, Release, SECOND, Thrice, assert_all_accounted_for, assert_room_for,
    defer_note,
};
use tokio::sync::Notify;

/// A job that takes so many seconds, and notes its begin and its end.
fn takes<K: Kind>(seconds: u32, journal: &Journal, what: &'static str) -> Does<K> {
    let journal = journal.clone();
    K::job(move |_| {
        let journal = journal.clone();
        async move {
            journal.note(format!("+{what}"));
            tokio::time::sleep(SECOND * seconds).await;
            journal.note(format!("-{what}"));
            Ok(())
        }
    })
}

/// A job whose first attempt fails.
fn fails_once<K: Kind>(journal: &Journal, what: &'static str) -> Does<K> {
    let journal = journal.clone();
    K::job(move |cx| {
        let journal = journal.clone();
        async move {
            journal.note(format!("{what} {}", cx.attempt()));
            if cx.attempt() == 1 { Err(JobError::msg("on purpose")) } else { Ok(()) }
        }
    })
}

/// Lets everything happen that needs no time. The clock is paused: it goes on only when all tasks wait for it.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// A request whose response is not over.
fn open<T>(runner: &Runner, defers: impl FnOnce() -> T) -> (Scope, T) {
    let mut scope = Scope::new(runner.clone());
    let deferred = scope.enter(defers);
    (scope, deferred)
}

#[tokio::test(start_paused = true)]
async fn jobs_with_a_serial_key_run_one_at_a_time_in_the_order_in_which_their_responses_ended() {
    let (runner, journal) = (Runner::default(), Journal::default());
    let (c, _) = open(&runner, || defer(takes::<Plain>(1, &journal, "c")).serial("account:7"));
    let (b, _) = open(&runner, || defer(takes::<Thrice>(1, &journal, "b")).serial("account:7"));
    let (a, _) = open(&runner, || {
        defer(takes::<Plain>(1, &journal, "a")).serial("account:7");
        defer(takes::<Plain>(1, &journal, "a again")).serial("account:7");
    });
    let (other, _) = open(&runner, || defer(takes::<Plain>(1, &journal, "other")).serial("account:8"));
    for scope in [&a, &b, &c, &other] {
        scope.release(None);
    }
    settle().await;
    assert_eq!(journal.lines(), ["+a", "+other"], "another key is another line");
    assert_eq!(runner.stats().pending, 3);
    runner.idle().await;
    let lines: Vec<_> = journal.lines().into_iter().filter(|line| !line.contains("other")).collect();
    assert_eq!(lines, ["+a", "-a", "+a again", "-a again", "+b", "-b", "+c", "-c"]);
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_serial_job_keeps_its_turn_until_it_has_ended_and_none_keeps_a_permit_meanwhile() {
    let journal = Journal::default();
    let runner = Runner::builder().max_running(1).build();
    let serial = |name| {
        let (scope, _) = open(&runner, || {
            defer(fails_once::<Patient>(&journal, name)).serial("account:7");
            defer_note(&journal, format!("after {name}"));
        });
        scope.release(None);
    };
    serial("first");
    serial("second");
    settle().await;
    // The first waits an hour for its second attempt, outside of its line. The second waits for the first, in its own.
    assert_eq!(journal.lines(), ["first 1", "after first"]);
    scope(&runner, async { defer_note(&journal, "another") }).await;
    settle().await;
    assert_eq!(journal.lines(), ["first 1", "after first", "another"]);
    runner.idle().await;
    let rest = &journal.lines()[3..];
    assert_eq!(rest, ["first 2", "second 1", "after second", "second 2"]);
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_serial_job_comes_in_when_it_is_due() {
    let (runner, journal) = (Runner::default(), Journal::default());
    for (name, delay) in [("late", 5), ("now", 0), ("next", 0)] {
        let (scope, _) = open(&runner, || {
            defer(takes::<Plain>(3, &journal, name)).delay(SECOND * delay).serial("account:7");
        });
        scope.release(None);
    }
    runner.idle().await;
    assert_eq!(journal.lines(), ["+now", "-now", "+next", "-next", "+late", "-late"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_cancelled_while_it_waits_for_its_turn_holds_nothing_up() {
    let (runner, journal) = (Runner::default(), Journal::default());
    let (long, _) = open(&runner, || defer(takes::<Plain>(3600, &journal, "long")).serial("account:7"));
    let (waits, cancelled) = open(&runner, || {
        let cancelled = defer(takes::<Plain>(1, &journal, "cancelled")).serial("account:7");
        defer_note(&journal, "behind it");
        cancelled
    });
    long.release(None);
    waits.release(None);
    settle().await;
    assert_eq!(journal.lines(), ["+long"]);
    assert!(cancelled.cancel());
    settle().await;
    assert_eq!(journal.lines(), ["+long", "behind it"]);
    scope(&runner, async { drop(defer(takes::<Plain>(1, &journal, "next")).serial("account:7")) }).await;
    runner.idle().await;
    assert_eq!(journal.lines()[2..], ["-long", "+next", "-next"]);
    assert_all_accounted_for(&runner);
}

/// A job that a worker of a queue has, which runs after those with the same key.
fn resume_serial() -> Resume {
    let mut resume = Resume::new(JobId::unique(), 0, Metadata::new());
    resume.serial = Some("account:7".to_owned());
    resume
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_stopped_job_that_blocks_its_thread_keeps_its_turn_until_it_returns() {
    let (runner, journal) = (Runner::default(), Journal::default());
    let (release, begun) = (Release::new(), Arc::new(Notify::new()));
    let blocks = {
        let (spin, journal, begun) = (release.spin(), journal.clone(), begun.clone());
        Plain::job(move |_| {
            journal.note("+blocks");
            begun.notify_one();
            spin();
            journal.note("-blocks");
            async { Ok(()) }
        })
    };
    let first = runner.resume(blocks, resume_serial()).unwrap();
    begun.notified().await;
    drop(first);
    scope(&runner, async { drop(defer(takes::<Plain>(0, &journal, "next")).serial("account:7")) }).await;
    for _ in 0..50 {
        // Others run meanwhile.
        let (runs, ran) = tokio::sync::oneshot::channel::<()>();
        scope(&runner, async { defer_fn(|_| async { drop(runs) }) }).await;
        let _ = ran.await;
    }
    assert_eq!(journal.lines(), ["+blocks"]);
    drop(release);
    runner.idle().await;
    assert_eq!(journal.lines(), ["+blocks", "-blocks", "+next", "-next"]);
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_stopped_gives_its_turn_to_the_next() {
    let (runner, journal) = (Runner::default(), Journal::default());
    let resume = |name| runner.resume(takes::<Plain>(1, &journal, name), resume_serial()).unwrap();
    let (mut first, second, mut third) = (resume("first"), resume("second"), resume("third"));
    settle().await;
    assert_eq!(journal.lines(), ["+first"], "a job from a queue takes its turn too");
    drop(second);
    first.ran().await;
    third.ran().await;
    assert_eq!(journal.lines(), ["+first", "-first", "+third", "-third"]);

    let (hangs, _) = open(&runner, || {
        defer(takes::<Plain>(u32::MAX, &journal, "hangs")).serial("account:7");
    });
    let (waits, _) = open(&runner, || defer(takes::<Plain>(1, &journal, "waits")).serial("account:7"));
    hangs.release(None);
    waits.release(None);
    let report = runner.shutdown(SECOND).await;
    assert_eq!(report.unfinished.len(), 2);
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_second_serial_key_counts_only_before_the_response_is_over() {
    let (runner, journal) = (Runner::default(), Journal::default());
    let (long, _) = open(&runner, || {
        defer(takes::<Plain>(9, &journal, "a")).serial("a");
    });
    let (other, job) = open(&runner, || defer(takes::<Plain>(1, &journal, "b")).serial("b").serial("a"));
    long.release(None);
    other.release(None);
    settle().await;
    assert_eq!(journal.lines(), ["+a"]);
    job.serial("b");
    tokio::time::sleep(SECOND).await;
    assert_eq!(journal.lines(), ["+a"]);
    runner.idle().await;
    assert_eq!(journal.lines(), ["+a", "-a", "+b", "-b"]);
}

/// Every job is in the lane of one key of five, some fail at first, and everything is as narrow as can be.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn turns_are_kept_and_every_job_makes_progress_at_any_limit() {
    for (max_running, max_pending) in [(1, 1), (2, 1), (64, 4096)] {
        let runner = Runner::builder().max_running(max_running).max_pending(max_pending).build();
        let running: Arc<[AtomicUsize; 5]> = Arc::default();
        let order: Arc<Mutex<HashMap<usize, Vec<usize>>>> = Arc::default();
        for request in 0..200 {
            let list = scope(&runner, async {
                for job in 0..3 {
                    let key = (request * 7 + job * 3) % 5;
                    let (running, order) = (running.clone(), order.clone());
                    let number = request * 3 + job;
                    let job = Thrice::job(move |cx| {
                        let (running, order) = (running.clone(), order.clone());
                        async move {
                            assert_eq!(running[key].fetch_add(1, Ordering::SeqCst), 0, "one at a time");
                            if cx.attempt() == 1 {
                                order.lock().unwrap().entry(key).or_default().push(number);
                            }
                            tokio::task::yield_now().await;
                            running[key].fetch_sub(1, Ordering::SeqCst);
                            match cx.attempt() {
                                1 if number % 5 == 0 => {
                                    Err(JobError::msg("again").retry_after(Duration::ZERO))
                                }
                                2 if number % 3 == 0 => {
                                    Err(JobError::snooze(Duration::ZERO).retry_after(Duration::ZERO).fatal())
                                }
                                _ => Ok(()),
                            }
                        }
                    });
                    drop(defer(job).serial(format!("{key}")));
                }
            });
            list.await;
        }
        runner.idle().await;
        assert_all_accounted_for(&runner);
        assert_eq!(runner.stats().deferred, 600);
        for (key, numbers) in order.lock().unwrap().iter() {
            assert!(numbers.is_sorted(), "in the order of the responses: {key}: {numbers:?}");
        }
        assert_room_for(&runner, max_pending);
    }
}

fn debounced(runner: &Runner, journal: &Journal, what: &'static str) -> Deferred {
    let (scope, job) =
        open(runner, || defer(takes::<Plain>(1, journal, what)).unique("sync:42").delay(SECOND * 5));
    scope.release(None);
    job
}

#[tokio::test(start_paused = true)]
async fn a_unique_job_is_left_out_while_another_waits_and_says_so() {
    let (events, journal) = (Events::default(), Journal::default());
    let runner = events.runner().build();
    let first = debounced(&runner, &journal, "first");
    let second = debounced(&runner, &journal, "second");
    settle().await;
    let third = debounced(&runner, &journal, "third");
    assert!(!first.is_duplicate() && second.is_duplicate() && third.is_duplicate());
    assert_eq!(events.count("Duplicate"), 2);
    let (scope, other) = open(&runner, || defer(takes::<Plain>(0, &journal, "other")).unique("sync:43"));
    assert!(!other.is_duplicate());
    scope.release(None);
    // While it runs it does not count: what has changed since would be missed.
    tokio::time::sleep(SECOND * 5).await;
    assert_eq!(journal.lines(), ["+other", "-other", "+first"]);
    let fourth = debounced(&runner, &journal, "fourth");
    assert!(!fourth.is_duplicate());
    runner.idle().await;
    assert_eq!(journal.lines()[2..], ["+first", "-first", "+fourth", "-fourth"]);
    assert!(!debounced(&runner, &journal, "fifth").is_duplicate());
    runner.idle().await;
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_handle_knows_that_its_job_is_a_duplicate_as_soon_as_it_is_one() {
    let (runner, journal) = (Runner::default(), Journal::default());
    debounced(&runner, &journal, "first");
    open(&runner, || {
        let second = defer(takes::<Plain>(1, &journal, "second"));
        assert!(!second.is_duplicate());
        second.unique("sync:42");
        assert!(
            second.is_duplicate() && second.clone().is_duplicate(),
            "also the handle that it was called on"
        );
    });
    runner.idle().await;
    // Neither is pending when the other is deferred: which is the duplicate is known when their responses are over.
    let (a, a_job) = open(&runner, || defer(takes::<Plain>(1, &journal, "a")).unique("sync:42"));
    let (b, b_job) = open(&runner, || defer(takes::<Plain>(1, &journal, "b")).unique("sync:42"));
    assert!(!a_job.is_duplicate() && !b_job.is_duplicate());
    b.release(None);
    a.release(None);
    assert!(a_job.is_duplicate() && !b_job.is_duplicate());
    runner.idle().await;
    assert_eq!(journal.lines(), ["+first", "-first", "+b", "-b"]);
    assert!(a_job.is_duplicate(), "also when its request has no jobs left");
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn unique_jobs_of_requests_at_the_same_time_are_left_out_when_their_responses_are_over() {
    let (runner, journal) = (Runner::default(), Journal::default());
    let unique =
        |what| open(&runner, || defer(takes::<Plain>(0, &journal, what)).unique("sync:42").delay(SECOND));
    let ((a, _), (b, b_job), (c, c_job)) = (unique("a"), unique("b"), unique("c"));
    assert!(!b_job.is_duplicate(), "the response of the first may yet take for ever");
    let (both, _) = open(&runner, || {
        defer(takes::<Plain>(0, &journal, "twice")).unique("sync:43");
        defer(takes::<Plain>(0, &journal, "twice")).unique("sync:43");
    });
    assert!(c_job.cancel());
    for scope in [&a, &b, &c, &both] {
        scope.release(None);
    }
    runner.idle().await;
    assert_eq!(journal.lines(), ["+twice", "-twice", "+a", "-a"]);
    assert_eq!(runner.stats().cancelled, 3);
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_others_were_left_out_for_runs_and_one_that_may_not_run_leaves_none_out() {
    let (runner, journal) = (Runner::default(), Journal::default());
    let first = debounced(&runner, &journal, "first");
    debounced(&runner, &journal, "second");
    assert!(!first.cancel(), "the second is left out for it");
    first.when(|_| false).on_success();
    runner.idle().await;
    assert_eq!(journal.lines(), ["+first", "-first"]);

    let (conditional, _) = open(&runner, || {
        defer(takes::<Plain>(0, &journal, "conditional")).unique("sync:42").delay(SECOND).on_success()
    });
    conditional.release(Some(ResponseInfo::new(Delivery::Disconnected)));
    assert!(!debounced(&runner, &journal, "sure").is_duplicate());
    runner.idle().await;
    assert_eq!(journal.lines()[2..], ["+sure", "-sure"]);
    assert_eq!((runner.stats().skipped, runner.stats().cancelled), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn no_more_jobs_of_a_type_run_at_once_than_it_allows_and_order_is_kept_behind_them() {
    let (runner, journal) = (Runner::default(), Journal::default());
    for (name, behind) in [("a", "a'"), ("b", "b'"), ("c", "c'")] {
        let (scope, _) = open(&runner, || {
            defer(takes::<Narrow>(1, &journal, name));
            defer_note(&journal, behind);
        });
        scope.release(None);
    }
    settle().await;
    assert_eq!(journal.lines(), ["+a", "+b"]);
    scope(&runner, async { defer_note(&journal, "another type") }).await;
    settle().await;
    assert_eq!(journal.lines(), ["+a", "+b", "another type"]);
    runner.idle().await;
    let lines = journal.lines();
    let at = |what: &str| lines.iter().position(|line| line == what).unwrap();
    assert!(at("+c") > at("-a").min(at("-b")) && at("c'") > at("-c"), "{lines:?}");
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_job_between_two_attempts_lets_another_of_its_type_run() {
    let (runner, journal) = (Runner::builder().max_running(1).build(), Journal::default());
    for name in ["a", "b", "c"] {
        let (scope, _) = open(&runner, || drop(defer(fails_once::<Narrow>(&journal, name))));
        scope.release(None);
    }
    runner.idle().await;
    assert_eq!(journal.lines(), ["a 1", "b 1", "c 1", "a 2", "b 2", "c 2"]);
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_concurrent_job_waits_for_none_of_its_request_and_none_for_it() {
    let (runner, journal) = (Runner::default(), Journal::default());
    let (scope, _) = open(&runner, || {
        defer(takes::<Plain>(2, &journal, "first"));
        defer(takes::<Beside>(3, &journal, "beside"));
        defer(takes::<Beside>(1, &journal, "beside too"));
        defer(takes::<Plain>(2, &journal, "second"));
    });
    settle().await;
    assert_eq!(journal.lines(), [""; 0], "not before the response is over");
    scope.release(None);
    runner.idle().await;
    let mut lines = journal.lines();
    lines[..3].sort();
    assert_eq!(
        lines,
        ["+beside", "+beside too", "+first", "-beside too", "-first", "+second", "-beside", "-second"]
    );
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_concurrent_job_that_is_deferred_after_the_response_runs_at_once_beside_the_line() {
    let (runner, journal) = (Runner::default(), Journal::default());
    let (scope, handle) = open(&runner, || {
        defer(takes::<Plain>(5, &journal, "line"));
        Defer::current().unwrap()
    });
    scope.release(None);
    settle().await;
    handle.push(takes::<Beside>(1, &journal, "beside"));
    handle.push(takes::<Plain>(1, &journal, "in line"));
    runner.idle().await;
    assert_eq!(journal.lines(), ["+line", "+beside", "-beside", "-line", "+in line", "-in line"]);
    // Nothing is in the line any more.
    handle.push(takes::<Beside>(1, &journal, "alone"));
    runner.idle().await;
    assert_eq!(journal.lines()[6..], ["+alone", "-alone"]);
    assert_all_accounted_for(&runner);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_goes_on_where_a_concurrent_job_has_left_it() {
    for runner in [Runner::default(), Runner::builder().max_running(1).build()] {
        for _ in 0..500 {
            scope(&runner, async {
                defer(Beside::job(|_| async { Ok(()) }));
                defer(Plain::job(|_| async { Ok(()) }));
                defer(Beside::job(|_| async { Ok(()) }));
                defer(Beside::job(|_| async { Ok(()) }));
                defer(Plain::job(|_| async { Ok(()) }));
            })
            .await;
        }
        runner.idle().await;
        assert_eq!(runner.stats().succeeded, 2_500);
        assert_all_accounted_for(&runner);
    }
}

#[tokio::test(start_paused = true)]
async fn the_worker_leaves_a_concurrent_job_alone_that_waits_for_a_delay_or_another_attempt() {
    for runner in [Runner::default(), Runner::builder().max_running(1).build()] {
        let journal = Journal::default();
        scope(&runner, async {
            defer(takes::<Beside>(0, &journal, "late")).delay(SECOND * 60);
            defer(fails_once::<BesideThrice>(&journal, "again"));
            defer(takes::<Plain>(10, &journal, "line"));
            defer(takes::<Plain>(0, &journal, "behind"));
        })
        .await;
        runner.idle().await;
        let lines = journal.lines();
        assert_eq!(lines.iter().filter(|line| line.starts_with("again")).count(), 2, "{lines:?}");
        assert_eq!(lines[lines.len() - 2..], ["+late", "-late"], "{lines:?}");
        assert_eq!(runner.stats().succeeded, 4);
        assert_all_accounted_for(&runner);
    }
}

#[tokio::test(start_paused = true)]
async fn concurrent_jobs_that_the_queue_did_not_take_count_as_waiting() {
    let runner = Runner::builder().queue(Away).max_running(1).build();
    let (scope, _) = open(&runner, || {
        defer(takes::<Plain>(100, &Journal::default(), "line"));
        (0..5).for_each(|_| drop(defer(takes::<BesideQueued>(1, &Journal::default(), "beside"))));
    });
    scope.release(None);
    tokio::time::sleep(SECOND).await;
    assert_eq!((runner.stats().running, runner.load().waiting), (1, 5));
    runner.idle().await;
    assert_room_for(&runner, 65_536);
}

#[tokio::test(start_paused = true)]
async fn a_unique_key_that_is_set_twice_keeps_its_claim() {
    let (runner, journal) = (Runner::builder().max_running(1).build(), Journal::default());
    let (busy, _) = open(&runner, || defer(takes::<Plain>(10, &journal, "busy")));
    let (waits, handle) = open(&runner, || Defer::current().unwrap());
    busy.release(None);
    waits.release(None);
    let first = handle.push(takes::<Plain>(1, &journal, "first"));
    assert!(!first.unique("k").is_duplicate() && !first.unique("k").is_duplicate());
    assert!(handle.push(takes::<Plain>(1, &journal, "second")).unique("k").is_duplicate());
    runner.idle().await;
    assert_eq!(journal.lines(), ["+busy", "-busy", "+first", "-first"]);
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn concurrent_jobs_keep_the_bounds_and_all_else_that_jobs_have() {
    for overflow in [Overflow::Wait, Overflow::Shed] {
        let (events, journal) = (Events::default(), Journal::default());
        let runner = events.runner().max_running(2).max_pending(4).overflow(overflow).build();
        let at_once = Arc::new(AtomicUsize::new(0));
        let (scope, cancelled) = open(&runner, || {
            for _ in 0..3 {
                let at_once = at_once.clone();
                defer(Beside::job(move |_| {
                    let at_once = at_once.clone();
                    async move {
                        assert!(at_once.fetch_add(1, Ordering::SeqCst) < 2);
                        tokio::time::sleep(SECOND).await;
                        at_once.fetch_sub(1, Ordering::SeqCst);
                        Ok(())
                    }
                }));
            }
            defer(takes::<Beside>(1, &journal, "cancelled")).cancel();
            defer(fails_once::<BesideThrice>(&journal, "retried"))
        });
        assert!(!cancelled.is_duplicate());
        scope.release(Some(ResponseInfo::new(Delivery::Sent).with_status(Some(StatusCode::NOT_FOUND))));
        let (skips, _) = open(&runner, || drop(defer(takes::<BesideOnSuccess>(1, &journal, "skipped"))));
        skips.release(Some(ResponseInfo::new(Delivery::Sent).with_status(Some(StatusCode::NOT_FOUND))));
        runner.idle().await;
        let stats = runner.stats();
        let shed = events.count("Shed");
        assert_eq!((stats.cancelled, stats.skipped + stats.shed), (1, 1), "{overflow:?}: {stats:?}");
        assert_eq!(stats.shed, u64::try_from(shed).unwrap());
        assert_eq!(journal.lines(), ["retried 1", "retried 2"]);
        assert_all_accounted_for(&runner);
        assert_room_for(&runner, 4);
    }
    let runner = Runner::default();
    let (hangs, _) = open(&runner, || {
        defer(Beside::job(|_| std::future::pending()));
        defer(Beside::job(|_| std::future::pending()));
    });
    hangs.release(None);
    assert_eq!(runner.shutdown(SECOND).await.unfinished.len(), 2);
    assert_all_accounted_for(&runner);
}

#[test]
fn concurrent_jobs_of_a_runtime_that_is_gone_are_abandoned() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let runner = Runner::default();
    let (scope, _) = {
        let _entered = runtime.enter();
        open(&runner, || drop(defer(Beside::job(|_| async { Ok(()) }))))
    };
    drop(runtime);
    scope.release(None);
    assert_eq!(runner.stats().abandoned, 1);
    assert_all_accounted_for(&runner);
}

/// A queue that is away.
struct Away;

impl Queue for Away {
    fn push(&self, _: Vec<Envelope>) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async {
            // By the paused clock: it answers after the release.
            tokio::time::sleep(Duration::from_millis(10)).await;
            Err("the queue is away".into())
        })
    }
}

/// Those that take their place late may have to wait for a job that is behind them in their line.
#[tokio::test(start_paused = true)]
async fn a_job_that_takes_its_place_late_does_not_hold_up_its_line() {
    let (runner, journal) = (Runner::builder().queue(Away).build(), Journal::default());
    let (delayed, _) = open(&runner, || {
        defer(takes::<Plain>(10, &journal, "slow"));
        defer(takes::<Plain>(1, &journal, "delayed")).serial("a").delay(SECOND * 5);
        defer(takes::<Plain>(1, &journal, "last")).serial("a");
    });
    delayed.release(None);
    runner.idle().await;
    assert_eq!(journal.lines(), ["+slow", "-slow", "+last", "-last", "+delayed", "-delayed"]);

    let journal = Journal::default();
    let (not_pushed, _) = open(&runner, || {
        defer(takes::<Queued>(1, &journal, "queued")).serial("b");
        defer(takes::<Plain>(1, &journal, "last")).serial("b");
    });
    not_pushed.release(None);
    runner.idle().await;
    assert_eq!(journal.lines(), ["+last", "-last", "+queued", "-queued"]);
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_set_while_a_job_waits_for_its_type_comes_too_late() {
    let (runner, journal) = (Runner::default(), Journal::default());
    let alone = |what, key: Option<&str>| {
        let (scope, job) = open(&runner, || {
            let job = defer(takes::<Alone>(5, &journal, what));
            key.map_or(job.clone(), |key| job.serial(key))
        });
        scope.release(None);
        job
    };
    alone("first", None);
    let second = alone("second", None);
    settle().await;
    alone("third", Some("k"));
    settle().await;
    second.serial("k").delay(SECOND * 3600);
    runner.idle().await;
    assert_eq!(journal.lines(), ["+first", "-first", "+second", "-second", "+third", "-third"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_a_job_delays_keeps_no_turn_meanwhile() {
    let (runner, journal) = (Runner::default(), Journal::default());
    let of_job = journal.clone();
    let (parent, _) = open(&runner, || {
        defer(Plain::job(move |_| {
            defer(takes::<Plain>(1, &of_job, "child")).serial("k").delay(SECOND * 3600);
            async { Ok(()) }
        }));
    });
    parent.release(None);
    settle().await;
    scope(&runner, async { drop(defer(takes::<Plain>(1, &journal, "other")).serial("k")) }).await;
    runner.idle().await;
    assert_eq!(journal.lines(), ["+other", "-other", "+child", "-child"]);
}

#[tokio::test(start_paused = true)]
async fn jobs_beside_their_line_keep_their_room_while_they_wait_for_their_turn() {
    let runner = Runner::builder().max_pending(2).overflow(Overflow::Shed).build();
    for _ in 0..10 {
        let (scope, _) =
            open(&runner, || drop(defer(takes::<BesideAlone>(1, &Journal::default(), "beside"))));
        scope.release(None);
        settle().await;
    }
    let stats = runner.stats();
    assert_eq!((stats.running, stats.pending, stats.shed), (1, 2, 7));
    assert_eq!(runner.load().waiting, 2);
    runner.idle().await;
    assert_room_for(&runner, 2);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_the_queue_did_not_take_is_still_unique_and_concurrent() {
    let (runner, journal) = (Runner::builder().queue(Away).build(), Journal::default());
    for _ in 0..2 {
        let (scope, _) = open(&runner, || {
            defer(takes::<Plain>(10, &journal, "line"));
            defer(takes::<BesideQueued>(1, &journal, "beside")).unique("k").delay(SECOND);
        });
        scope.release(None);
        tokio::time::sleep(SECOND / 2).await;
    }
    runner.idle().await;
    assert_eq!(journal.lines()[..4], ["+line", "+line", "+beside", "-beside"]);
    assert_eq!(runner.stats().cancelled, 1);
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_others_were_left_out_for_cannot_be_put_off() {
    let (runner, journal) = (Runner::default(), Journal::default());
    let first = debounced(&runner, &journal, "first");
    debounced(&runner, &journal, "second");
    first.delay(SECOND * 86_400);
    tokio::time::sleep(SECOND * 7).await;
    assert_eq!(journal.lines(), ["+first", "-first"]);
}

#[tokio::test]
async fn a_job_that_is_pushed_while_its_list_is_released_is_behind_the_others() {
    for _ in 0..20 {
        let runner = Runner::default();
        let (scope, handle) = open(&runner, || {
            (0..500).for_each(|_| drop(defer(Plain::job(|_| async { Ok(()) })).serial("k")));
            Defer::current().unwrap()
        });
        let pushes = std::thread::spawn(move || {
            (0..500).for_each(|_| drop(handle.push(Plain::job(|_| async { Ok(()) })).serial("k")));
        });
        scope.release(None);
        runner.idle().await;
        pushes.join().unwrap();
        runner.idle().await;
        assert_all_accounted_for(&runner);
    }
}

#[tokio::test]
async fn a_concurrent_job_that_joins_a_list_takes_one_task_and_leaves_nothing_in_the_line() {
    let runner = Runner::default();
    let (scope, handle) = open(&runner, || {
        defer(Plain::job(|_| async { Ok(()) }));
        Defer::current().unwrap()
    });
    scope.release(None);
    runner.idle().await;
    tokio::task::yield_now().await;
    let metrics = tokio::runtime::Handle::current().metrics();
    let before = metrics.num_alive_tasks();
    handle.push(Beside::job(|_| async { Ok(()) }));
    assert_eq!(metrics.num_alive_tasks(), before + 1);
    assert_eq!(handle.len(), 0);
    runner.idle().await;
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_concurrent_job_that_waits_is_seen_to_wait() {
    let (events, journal) = (Events::default(), Journal::default());
    let runner = events.runner().max_running(1).build();
    for (what, seconds) in [("runs", 100), ("waits", 1)] {
        let (scope, _) = open(&runner, || drop(defer(takes::<Beside>(seconds, &journal, what))));
        scope.release(None);
        tokio::time::sleep(SECOND).await;
    }
    tokio::time::sleep(SECOND * 50).await;
    let oldest = runner.oldest_pending().expect("one waits");
    assert!((SECOND * 51..SECOND * 52).contains(&oldest), "{oldest:?}");
}
