//! Blocking jobs: on Tokio's blocking pool, where they may block, and otherwise as any other.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use defer_core::{JobError, Runner, defer, defer_fn, scope};
use support::{
    Blocking, BlockingAlone, BlockingLimited, BlockingTwice, Does, Events, Journal, Kind, OnDrop, SECOND,
    assert_all_accounted_for, defer_note, quiet_panics,
};
use tokio::sync::Notify;

#[tokio::test]
async fn a_blocking_job_runs_on_another_thread_and_may_block_it() {
    let (runner, journal) = (Runner::default(), Journal::default());
    let here = thread::current().id();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let of_job = journal.clone();
    scope(&runner, async {
        defer(Blocking::job(move |_| {
            assert_ne!(thread::current().id(), here);
            released.lock().unwrap().recv().unwrap();
            of_job.note("blocking");
            async { Ok(()) }
        }));
        defer_note(&journal, "after it");
    })
    .await;
    // This runtime has one thread, and it is free.
    scope(&runner, async {
        defer_fn(move |_| async move { release.send(()).unwrap() });
    })
    .await;
    runner.idle().await;
    assert_eq!(journal.lines(), ["blocking", "after it"]);
    assert_eq!(runner.stats().succeeded, 3);
}

#[tokio::test]
async fn a_blocking_job_may_await_too() {
    let runner = Runner::default();
    scope(&runner, async {
        defer(Blocking::job(|cx| async move {
            // So that the timer is awaited: nothing depends on how long that takes.
            tokio::time::sleep(Duration::from_millis(1)).await;
            cx.shutting_down().await;
            Ok(())
        }))
    })
    .await;
    assert_eq!(runner.shutdown(Duration::from_secs(30)).await.completed, 1);
}

#[tokio::test]
async fn jobs_that_a_blocking_job_defers_join_the_end_of_its_requests_list() {
    let (runner, journal) = (Runner::default(), Journal::default());
    let of_job = journal.clone();
    scope(&runner, async {
        defer(Blocking::job(move |_| {
            defer_note(&of_job, "by the call");
            let journal = of_job.clone();
            async move {
                defer_note(&journal, "by the future");
                Ok(())
            }
        }));
        defer_note(&journal, "by the request");
    })
    .await;
    runner.idle().await;
    assert_eq!(journal.lines(), ["by the request", "by the call", "by the future"]);
}

#[tokio::test]
async fn a_blocking_jobs_panic_and_error_are_failed_attempts() {
    quiet_panics();
    let events = Events::default();
    let runner = events.runner().build();
    scope(&runner, async {
        defer(Blocking::job(|_| async { panic!("on purpose") }));
        defer(Blocking::job(|_| async { Err(JobError::msg("out of order")) }));
        defer(Blocking::job(|_| async { Ok(()) }));
    })
    .await;
    runner.idle().await;
    assert_eq!(events.errors_of("Blocking"), ["panicked: on purpose", "out of order"]);
    assert_eq!((runner.stats().failed, runner.stats().succeeded), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_blocking_job_is_tried_again() {
    let events = Events::default();
    let runner = events.runner().build();
    scope(&runner, async {
        defer(BlockingTwice::job(|cx| async move {
            if cx.attempt() == 1 { Err(JobError::msg("again")) } else { Ok(()) }
        }))
    })
    .await;
    runner.idle().await;
    let expected = ["Deferred 0", "Started 1", "Retrying 1", "Started 2", "Succeeded 2"];
    assert_eq!(events.of("BlockingTwice"), expected);
}

#[tokio::test]
async fn a_blocking_job_that_takes_too_long_is_left_behind_and_later_jobs_go_on() {
    let events = Events::default();
    let runner = events.runner().build();
    let journal = Journal::default();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    scope(&runner, async {
        defer(BlockingLimited::job(move |_| {
            released.lock().unwrap().recv().unwrap();
            async { Ok(()) }
        }));
        defer_note(&journal, "after it");
    })
    .await;
    runner.idle().await;
    assert_eq!(journal.lines(), ["after it"]);
    release.send(()).unwrap();
    assert_eq!(events.of("BlockingLimited"), ["Deferred 0", "Started 1", "TimedOut 1"]);
    assert_all_accounted_for(&runner);
}

/// All threads of the pool may be taken for longer than a job's limit.
#[test]
fn a_blocking_job_that_timed_out_before_it_had_a_thread_does_not_run_later() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    let runner = Runner::default();
    let ran = Arc::new(AtomicUsize::new(0));
    runtime.block_on(async {
        let (release, released) = mpsc::channel::<()>();
        let taken = tokio::task::spawn_blocking(move || released.recv().unwrap());
        let runs = ran.clone();
        scope(&runner, async {
            defer(BlockingLimited::job(move |_| {
                runs.fetch_add(1, Ordering::Relaxed);
                async { Ok(()) }
            }))
        })
        .await;
        runner.idle().await;
        assert_eq!(runner.stats().failed, 1);
        release.send(()).unwrap();
        taken.await.unwrap();
        tokio::task::spawn_blocking(|| {}).await.unwrap();
    });
    assert_eq!(ran.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_blocking_job_that_is_not_done_at_the_deadline_is_named() {
    let events = Events::default();
    let runner = events.runner().build();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    scope(&runner, async {
        defer(Blocking::job(move |_| {
            released.lock().unwrap().recv().unwrap();
            async { Ok(()) }
        }))
    })
    .await;
    let report = runner.shutdown(Duration::from_millis(20)).await;
    assert_eq!(report.unfinished.len(), 1);
    assert_all_accounted_for(&runner);
    release.send(()).unwrap();
    assert_eq!(events.of("Blocking"), ["Deferred 0", "Started 1", "Abandoned 1"]);
}

#[tokio::test]
async fn no_more_than_max_running_blocking_jobs_run() {
    let runner = Runner::builder().max_running(2).build();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for _ in 0..20 {
        let (now, most) = (now.clone(), most.clone());
        scope(&runner, async {
            defer(Blocking::job(move |_| {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // So that more of them would meet if they could. A slow machine makes that no less true.
                thread::sleep(Duration::from_millis(1));
                now.fetch_sub(1, Ordering::SeqCst);
                async { Ok(()) }
            }))
        })
        .await;
    }
    runner.idle().await;
    assert!(most.load(Ordering::SeqCst) <= 2);
    assert_eq!(runner.stats().succeeded, 20);
}

/// Defers a job that stays on its thread beyond its timeout, then one that must not start before that thread returns.
async fn starts_after_the_thread_of_another<K: Kind>(name: &str, defer_one: impl Fn(Does<K>)) {
    let (events, journal) = (Events::default(), Journal::default());
    let runner = events.runner().build();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let first = K::job(move |_| {
        released.lock().unwrap().recv().unwrap();
        async { Ok(()) }
    });
    scope(&runner, async { defer_one(first) }).await;
    while runner.stats().failed == 0 {
        tokio::task::yield_now().await;
    }
    scope(&runner, async { defer_one(K::job(|_| async { Ok(()) })) }).await;
    // Every job that can start has started: this one came later.
    scope(&runner, async { defer_note(&journal, "another type") }).await;
    while journal.lines().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(events.of(name), ["Deferred 0", "Started 1", "TimedOut 1", "Deferred 0"]);
    release.send(()).unwrap();
    runner.idle().await;
    assert_eq!(events.of(name)[4], "Started 1");
    assert_all_accounted_for(&runner);
}

#[tokio::test]
async fn a_blocking_job_that_timed_out_keeps_its_place_among_its_type_until_its_thread_returns() {
    starts_after_the_thread_of_another::<BlockingAlone>("BlockingAlone", |job| drop(defer(job))).await;
}

#[tokio::test]
async fn a_blocking_job_that_timed_out_keeps_its_turn_among_its_serial_key_until_its_thread_returns() {
    let serial = |job| drop(defer(job).serial("account:7"));
    starts_after_the_thread_of_another::<BlockingLimited>("BlockingLimited", serial).await;
}

/// Tells when it is dropped.
fn hangs<K: Kind>(dropped: &Arc<Notify>) -> Does<K> {
    let dropped = dropped.clone();
    K::job(move |_| {
        let dropped = dropped.clone();
        async move {
            let _dropped = OnDrop(move || dropped.notify_one());
            std::future::pending().await
        }
    })
}

#[tokio::test]
async fn a_blocking_job_that_awaits_is_dropped_at_its_timeout() {
    let (runner, dropped) = (Runner::default(), Arc::new(Notify::new()));
    scope(&runner, async { drop(defer(hangs::<BlockingLimited>(&dropped))) }).await;
    runner.idle().await;
    assert_eq!(runner.stats().failed, 1);
    tokio::time::timeout(SECOND * 30, dropped.notified()).await.expect("it does not pin its thread");
}

#[tokio::test]
async fn a_blocking_job_that_awaits_is_dropped_at_the_end_of_a_shutdown() {
    let (runner, dropped) = (Runner::default(), Arc::new(Notify::new()));
    scope(&runner, async { drop(defer(hangs::<Blocking>(&dropped))) }).await;
    let report = runner.shutdown(Duration::from_millis(20)).await;
    assert_eq!(report.unfinished.len(), 1);
    tokio::time::timeout(SECOND * 30, dropped.notified()).await.expect("it does not pin its thread");
}

/// As `#[tokio::main]` does when `main` returns.
#[test]
fn a_runtime_that_is_dropped_does_not_wait_for_a_blocking_job_that_awaits() {
    let (done, ended) = mpsc::channel();
    thread::spawn(move || {
        for multi_thread in [false, true] {
            let mut runtime = if multi_thread {
                tokio::runtime::Builder::new_multi_thread()
            } else {
                tokio::runtime::Builder::new_current_thread()
            };
            let runtime = runtime.enable_all().build().unwrap();
            let runner = Runner::default();
            runtime.block_on(async {
                let (started, starts) = tokio::sync::oneshot::channel();
                let started = Mutex::new(Some(started));
                scope(&runner, async {
                    defer(Blocking::job(move |_| {
                        started.lock().unwrap().take().unwrap().send(()).unwrap();
                        std::future::pending()
                    }));
                })
                .await;
                starts.await.unwrap();
            });
            drop(runtime);
            assert_eq!(runner.stats().abandoned, 1);
        }
        done.send(()).unwrap();
    });
    ended.recv_timeout(SECOND * 60).expect("the process ends when `main` returns");
}
