//! Bounds: how many jobs run, how many wait, and what happens then.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Waker},
    time::Duration,
};

use defer_core::{Defer, JobError, Overflow, Runner, defer, defer_fn, scope};
use support::{
    Events, Journal, Kind, Patient, Plain, SECOND, Thrice, Twice, assert_all_accounted_for, assert_room_for,
    defer_note,
};
use tokio::{sync::Semaphore, task::JoinSet};

/// Counts who is inside, and remembers how many there were at most.
#[derive(Default)]
struct Count {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Count {
    async fn during<T>(&self, future: impl Future<Output = T>) -> T {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let output = future.await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        output
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

/// Polls until nothing happens any more but for time.
async fn settle() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

/// A runner whose only permit is taken until the semaphore is given one.
async fn held(runner: &Runner) -> Arc<Semaphore> {
    let release = Arc::new(Semaphore::new(0));
    let (until, started) = (release.clone(), Arc::new(Semaphore::new(0)));
    let starts = started.clone();
    scope(runner, async {
        defer_fn(move |_| async move {
            starts.add_permits(1);
            drop(until.acquire().await);
        })
    })
    .await;
    drop(started.acquire().await);
    release
}

#[tokio::test(start_paused = true)]
async fn no_more_than_max_running_jobs_run_and_no_fewer_if_there_are_more() {
    let runner = Runner::builder().max_running(5).build();
    let count = Arc::new(Count::default());
    for request in 0..40u64 {
        scope(&runner, async {
            for job in 0..5 {
                let count = count.clone();
                let millis = Duration::from_millis(1 + (request * 7 + job * 13) % 10);
                defer(Thrice::job(move |cx| {
                    let count = count.clone();
                    async move {
                        count.during(tokio::time::sleep(millis)).await;
                        if cx.attempt() as u64 <= job % 4 { Err(JobError::msg("again")) } else { Ok(()) }
                    }
                }));
            }
        })
        .await;
    }
    runner.idle().await;
    assert_eq!(count.most(), 5);
    assert_eq!(runner.stats().deferred, 200);
    assert_all_accounted_for(&runner);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_more_than_max_running_jobs_run_on_several_threads() {
    let runner = Runner::builder().max_running(3).build();
    let count = Arc::new(Count::default());
    let mut requests = JoinSet::new();
    for _ in 0..500 {
        let (runner, count) = (runner.clone(), count.clone());
        requests.spawn(async move {
            scope(&runner, async {
                for _ in 0..4 {
                    let count = count.clone();
                    defer_fn(|_| async move { count.during(tokio::task::yield_now()).await });
                }
            })
            .await;
        });
    }
    requests.join_all().await;
    runner.idle().await;
    assert!(count.most() <= 3, "{}", count.most());
    assert_eq!(runner.stats().succeeded, 2_000);
}

#[tokio::test(start_paused = true)]
async fn a_request_with_ten_thousand_jobs_does_not_keep_another_waiting() {
    let runner = Runner::builder().max_running(1).build();
    let ran = Arc::new(AtomicUsize::new(0));
    scope(&runner, async {
        for _ in 0..10_000 {
            let ran = ran.clone();
            defer_fn(|_| async move {
                tokio::task::yield_now().await;
                ran.fetch_add(1, Ordering::Relaxed);
            });
        }
    })
    .await;
    let before = Arc::new(AtomicUsize::new(0));
    let (seen, counted) = (before.clone(), ran.clone());
    scope(&runner, async {
        defer_fn(move |_| async move { seen.store(counted.load(Ordering::Relaxed), Ordering::Relaxed) })
    })
    .await;
    runner.idle().await;
    assert!(
        before.load(Ordering::Relaxed) <= 2,
        "{} of the others were first",
        before.load(Ordering::Relaxed)
    );
    assert_eq!(runner.stats().succeeded, 10_001);
}

#[tokio::test(start_paused = true)]
async fn requests_that_wait_for_a_permit_take_turns() {
    let runner = Runner::builder().max_running(1).build();
    let journal = Journal::default();
    let release = held(&runner).await;
    for request in ["a", "b", "c"] {
        scope(&runner, async { (0..3).for_each(|job| defer_note(&journal, format!("{request}{job}"))) })
            .await;
    }
    release.add_permits(1);
    runner.idle().await;
    assert_eq!(journal.lines(), ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_between_two_tries_takes_no_permit() {
    let runner = Runner::builder().max_running(1).build();
    scope(&runner, async { defer(Patient::job(|_| async { Err(JobError::msg("later")) })) }).await;
    for _ in 0..10 {
        scope(&runner, async { defer_fn(|_| async {}) }).await;
    }
    settle().await;
    assert_eq!((runner.stats().succeeded, runner.stats().pending), (10, 1));
}

#[tokio::test(start_paused = true)]
async fn overflow_wait_holds_the_response_back_until_there_is_room_and_nothing_is_lost() {
    let runner = Runner::builder().max_running(1).max_pending(2).build();
    let release = held(&runner).await;
    let sent = Arc::new(Mutex::new(Vec::new()));
    let mut responses = JoinSet::new();
    for request in 0..5 {
        let (runner, sent) = (runner.clone(), sent.clone());
        responses.spawn(async move {
            scope(&runner, async { defer_fn(|_| tokio::time::sleep(SECOND)) }).await;
            sent.lock().unwrap().push(request);
        });
        settle().await;
    }
    assert_eq!(*sent.lock().unwrap(), [0, 1], "two wait, and so there is no room for more");
    release.add_permits(1);
    responses.join_all().await;
    assert_eq!(*sent.lock().unwrap(), [0, 1, 2, 3, 4], "first come, first served");
    runner.idle().await;
    assert_eq!((runner.stats().succeeded, runner.stats().shed), (6, 0));
    assert_room_for(&runner, 2);
}

#[tokio::test(start_paused = true)]
async fn a_response_with_more_jobs_than_max_pending_waits_for_all_of_the_room_and_no_longer() {
    let runner = Runner::builder().max_running(1).max_pending(3).build();
    let release = held(&runner).await;
    scope(&runner, async { defer_fn(|_| async {}) }).await;
    let large = scope(&runner, async { (0..10).for_each(|_| drop(defer_fn(|_| async {}))) });
    let mut large = std::pin::pin!(large);
    assert!(futures_now(large.as_mut()).await.is_none(), "one waits, and so there is not all of the room");
    release.add_permits(1);
    large.await;
    runner.idle().await;
    assert_eq!(runner.stats().succeeded, 12);
    assert_room_for(&runner, 3);
}

/// The future's output, if it is there before time passes.
async fn futures_now<F: Future>(future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = settle() => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_dropped_while_it_is_held_back_loses_nothing() {
    let runner = Runner::builder().max_running(1).max_pending(1).build();
    let release = held(&runner).await;
    scope(&runner, async { defer_fn(|_| async {}) }).await;
    for _ in 0..3 {
        let response = scope(&runner, async { (0..2).for_each(|_| drop(defer_fn(|_| async {}))) });
        assert!(futures_now(response).await.is_none());
    }
    assert_eq!(runner.stats().pending, 7);
    release.add_permits(1);
    runner.idle().await;
    assert_eq!(runner.stats().succeeded, 8);
    assert_room_for(&runner, 1);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_waits_for_another_try_takes_room() {
    let runner = Runner::builder().max_pending(1).build();
    scope(&runner, async { defer(Twice::job(|_| async { Err(JobError::msg("later")) })) }).await;
    settle().await;
    let since = tokio::time::Instant::now();
    scope(&runner, async { defer_fn(|_| async {}) }).await;
    assert!(since.elapsed() >= SECOND - Duration::from_millis(1), "{:?}", since.elapsed());
    runner.idle().await;
    assert_room_for(&runner, 1);
}

#[tokio::test(start_paused = true)]
async fn retries_do_not_make_the_number_of_pending_jobs_grow() {
    let runner = Runner::builder().max_running(4).max_pending(16).build();
    let mut most = 0;
    for _ in 0..500 {
        scope(&runner, async {
            defer(Thrice::job(|_| async { Err(JobError::msg("again")) }));
        })
        .await;
        most = most.max(runner.stats().pending);
    }
    assert!(most <= 16 + 4, "{most} pending");
    runner.idle().await;
    assert_eq!(runner.stats().failed, 500);
    assert_room_for(&runner, 16);
}

#[tokio::test(start_paused = true)]
async fn jobs_pushed_after_the_response_take_room_too() {
    let runner = Runner::builder().max_running(1).max_pending(3).build();
    let list = scope(&runner, async { Defer::current().expect("a scope") }).await;
    let release = held(&runner).await;
    (0..3).for_each(|_| drop(list.push_fn(|_| async {})));
    let response = scope(&runner, async { defer_fn(|_| async {}) });
    assert!(futures_now(response).await.is_none(), "three wait, and so there is no room");
    release.add_permits(1);
    runner.idle().await;
    assert_eq!(runner.stats().succeeded, 5);
    assert_room_for(&runner, 3);
}

#[tokio::test(start_paused = true)]
async fn jobs_that_end_without_having_started_give_their_room_back() {
    let runner = Runner::builder().max_running(1).max_pending(3).build();
    let release = held(&runner).await;
    let cancelled =
        scope(&runner, async { (0..3).map(|_| defer_fn(|_| async {})).collect::<Vec<_>>() }).await;
    let mut response = std::pin::pin!(scope(&runner, async { defer_fn(|_| async {}) }));
    assert!(futures_now(response.as_mut()).await.is_none());
    assert!(cancelled[1].cancel());
    assert!(futures_now(response).await.is_some());
    assert!(cancelled[0].cancel() && cancelled[2].cancel());
    release.add_permits(1);
    runner.idle().await;
    assert_eq!((runner.stats().succeeded, runner.stats().cancelled), (2, 3));
    assert_room_for(&runner, 3);
}

#[tokio::test(start_paused = true)]
async fn overflow_shed_drops_the_newest_with_an_event() {
    let events = Events::default();
    let runner = events.runner().max_running(1).max_pending(2).overflow(Overflow::Shed).build();
    let journal = Journal::default();
    let release = held(&runner).await;
    scope(&runner, async {
        for job in 0..5 {
            defer_note(&journal, job);
        }
        assert_eq!(Defer::current().expect("a scope").len(), 2);
        assert!(!defer(Plain::job(|_| async { Ok(()) })).cancel());
    })
    .await;
    assert_eq!(events.of("Plain"), ["Deferred 0", "Shed 0"]);
    release.add_permits(1);
    runner.idle().await;
    assert_eq!(journal.lines(), ["0", "1"]);
    assert_eq!((runner.stats().shed, events.count("Shed")), (4, 4));
    scope(&runner, async { defer_note(&journal, "there is room again") }).await;
    runner.idle().await;
    assert_eq!(journal.lines().len(), 3);
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn overflow_shed_never_holds_a_response_back() {
    let runner = Runner::builder().max_running(1).max_pending(1).overflow(Overflow::Shed).build();
    let release = held(&runner).await;
    for _ in 0..100 {
        let response = scope(&runner, async { (0..10).for_each(|_| drop(defer_fn(|_| async {}))) });
        assert!(futures_now(response).await.is_some());
    }
    assert_eq!((runner.stats().pending, runner.stats().shed), (1, 999));
    release.add_permits(1);
    runner.idle().await;
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn overflow_shed_counts_jobs_between_two_tries() {
    let runner = Runner::builder().max_pending(1).overflow(Overflow::Shed).build();
    scope(&runner, async { defer(Twice::job(|_| async { Err(JobError::msg("later")) })) }).await;
    settle().await;
    scope(&runner, async { defer_fn(|_| async {}) }).await;
    assert_eq!(runner.stats().shed, 1);
    runner.idle().await;
    scope(&runner, async { defer_fn(|_| async {}) }).await;
    runner.idle().await;
    assert_eq!((runner.stats().shed, runner.stats().succeeded), (1, 1));
}

#[tokio::test]
async fn a_bound_of_none_is_one() {
    let runner = Runner::builder().max_running(0).max_pending(0).build();
    scope(&runner, async { (0..3).for_each(|_| drop(defer_fn(|_| async {}))) }).await;
    runner.idle().await;
    assert_eq!(runner.stats().succeeded, 3);
}

#[tokio::test(start_paused = true)]
async fn a_response_that_nobody_polls_keeps_no_other_waiting_when_there_is_room() {
    let runner = Runner::builder().max_running(1).max_pending(2).build();
    let release = held(&runner).await;
    scope(&runner, async { (0..2).for_each(|_| drop(defer_fn(|_| async {}))) }).await;
    // It waits for room, and the code that waits for it has other things to do.
    let mut first = pin!(scope(&runner, async { drop(defer_fn(|_| async {})) }));
    assert!(first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    release.add_permits(1);
    settle().await;
    assert_eq!((runner.stats().succeeded, runner.stats().running), (3, 0));
    // Room for two, of which the first has one.
    let second = scope(&runner, async { drop(defer_fn(|_| async {})) });
    tokio::time::timeout(SECOND * 60, second).await.expect("there is room");
    first.await;
    runner.idle().await;
    assert_room_for(&runner, 2);
}

#[tokio::test(start_paused = true)]
async fn a_response_that_goes_while_it_waits_leaves_what_room_it_had() {
    let runner = Runner::builder().max_running(1).max_pending(3).build();
    let release = held(&runner).await;
    scope(&runner, async { drop(defer_fn(|_| async {})) }).await;
    let mut three = Box::pin(scope(&runner, async { (0..3).for_each(|_| drop(defer_fn(|_| async {}))) }));
    let mut two = Box::pin(scope(&runner, async { (0..2).for_each(|_| drop(defer_fn(|_| async {}))) }));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(three.as_mut().poll(&mut cx).is_pending());
    assert!(two.as_mut().poll(&mut cx).is_pending());
    drop(three);
    assert!(two.as_mut().poll(&mut cx).is_ready());
    release.add_permits(1);
    runner.idle().await;
    assert_all_accounted_for(&runner);
    assert_room_for(&runner, 3);
}

/// A job that defers the next one of its kind, for ever.
fn chain() {
    defer_fn(|_| async {
        chain();
        tokio::time::sleep(SECOND).await;
    });
}

#[tokio::test(start_paused = true)]
async fn jobs_that_defer_jobs_do_not_keep_a_response_waiting_for_ever() {
    let runner = Runner::builder().max_pending(2).build();
    scope(&runner, async { chain() }).await;
    settle().await;
    // The chain has one job that runs and one that waits.
    let two = scope(&runner, async { (0..2).for_each(|_| drop(defer_fn(|_| async {}))) });
    tokio::time::timeout(SECOND * 60, two).await.expect("its turn comes");
}

/// Neither with what it has deferred when its response is over, nor with what one of its jobs defers.
#[tokio::test(start_paused = true)]
async fn one_request_with_many_jobs_does_not_keep_the_others_out() {
    fn hundred(ran: &Arc<AtomicUsize>) {
        for _ in 0..100 {
            let ran = ran.clone();
            defer_fn(|_| async move {
                ran.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(SECOND).await;
            });
        }
    }
    for by_a_job in [false, true] {
        let runner = Runner::builder().max_running(1).max_pending(4).build();
        let ran = Arc::new(AtomicUsize::new(0));
        scope(&runner, async {
            let ran = ran.clone();
            if by_a_job { drop(defer_fn(move |_| async move { hundred(&ran) })) } else { hundred(&ran) }
        })
        .await;
        settle().await;
        for _ in 0..4 {
            scope(&runner, async { drop(defer_fn(|_| async {})) }).await;
        }
        let before = ran.load(Ordering::SeqCst);
        assert!(before <= 10, "{before} of the others were first");
        runner.idle().await;
        assert_all_accounted_for(&runner);
        assert_room_for(&runner, 4);
    }
}
