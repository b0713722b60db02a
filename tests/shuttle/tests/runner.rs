//! Requests at the smallest limits, nesting, retries, cancelling, and turns.

mod support;

use std::{
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use defer_shuttle::{Defer, JobError, Overflow, defer, defer_fn, scope};
use shuttle::future::{block_on, yield_now};
use support::{Alone, Beside, Limited, Record, Running, SHORT, Thrice, explore, join, on_thread};

#[test]
fn requests_at_the_smallest_bounds_all_get_on_one_job_at_a_time_and_in_order() {
    explore(|| {
        let (record, running) = (Record::default(), Running::default());
        let runner = record.runner().max_running(1).max_pending(1).build();
        let request = |request| {
            let (runner, running) = (runner.clone(), running.clone());
            on_thread(async move {
                scope(&runner, async {
                    for job in 0..2 {
                        let running = running.clone();
                        defer_fn(move |_| async move { running.run(request, job).await });
                    }
                })
                .await;
            })
        };
        join((0..3).map(request));
        block_on(runner.idle());
        record.check(&runner, 6);
        assert_eq!(running.most(), 1);
        (0..3).for_each(|request| assert_eq!(running.of(request), [0, 1]));
    });
}

#[test]
fn no_more_than_max_running_jobs_run() {
    explore(|| {
        let (record, running) = (Record::default(), Running::default());
        let runner = record.runner().max_running(2).max_pending(2).build();
        let request = |request| {
            let (runner, running) = (runner.clone(), running.clone());
            on_thread(async move {
                scope(&runner, async {
                    for job in 0..2 {
                        let running = running.clone();
                        defer(Beside::job(move |_| {
                            let running = running.clone();
                            async move {
                                running.run(request, job).await;
                                Ok(())
                            }
                        }));
                    }
                })
                .await;
            })
        };
        join((0..3).map(request));
        block_on(runner.idle());
        record.check(&runner, 6);
        assert!(running.most() <= 2, "{} ran at once", running.most());
    });
}

#[test]
fn a_job_that_opens_a_scope_on_its_own_runner_gets_on_at_the_smallest_bounds() {
    explore(|| {
        let record = Record::default();
        let runner = record.runner().max_running(1).max_pending(1).build();
        let request = || {
            let runner = runner.clone();
            on_thread(async move {
                scope(&runner.clone(), async {
                    let within = runner.clone();
                    defer_fn(move |_| async move {
                        scope(&within, async {
                            defer_fn(|_| yield_now());
                            defer_fn(|_| async {});
                        })
                        .await;
                        // Joins the end of its request's list.
                        defer_fn(|_| async {});
                    });
                })
                .await;
            })
        };
        join([request(), request()]);
        block_on(runner.idle());
        let stats = record.check(&runner, 8);
        assert_eq!(stats.succeeded, 8);
    });
}

/// Held responses are let through a few at a time. One that gives up its place, or whose jobs are all cancelled once it was
/// let through, takes no room, and those behind it must not wait for it.
#[test]
fn held_responses_that_leave_or_bring_nothing_keep_nobody_waiting() {
    explore(|| {
        let record = Record::default();
        let runner = record.runner().max_running(1).max_pending(1).build();
        let request = |n: usize| {
            let runner = runner.clone();
            on_thread(async move {
                let scope = scope(&runner, async {
                    let deferred = defer_fn(|_| yield_now());
                    if n % 2 == 1 {
                        let cancels = async move { deferred.cancel() };
                        drop(tokio::task::spawn(cancels));
                    }
                });
                if n % 3 == 2 {
                    // Dropping this releases its jobs.
                    drop(tokio::time::timeout(SHORT, scope).await);
                } else {
                    scope.await;
                }
            })
        };
        join((0..6).map(request));
        block_on(runner.idle());
        let stats = record.check(&runner, 6);
        assert!(
            stats.succeeded >= 2 && stats.succeeded + stats.cancelled + stats.abandoned == 6,
            "{stats:?}"
        );
    });
}

#[test]
fn jobs_that_fail_time_out_and_panic_have_their_attempts_and_touch_no_other() {
    explore(|| {
        let record = Record::default();
        let runner = record.runner().max_running(1).max_pending(1).build();
        let (failing, second) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (a, b) = (failing.clone(), second.clone());
        let requests = [
            on_thread({
                let runner = runner.clone();
                async move {
                    scope(&runner, async {
                        defer(Thrice::job(move |_| {
                            a.fetch_add(1, Ordering::Relaxed);
                            async { Err(JobError::msg("never")) }
                        }));
                        defer(Thrice::job(move |cx| {
                            b.fetch_add(1, Ordering::Relaxed);
                            async move { if cx.attempt() < 2 { resume_unwind(Box::new("once")) } else { Ok(()) } }
                        }));
                        defer_fn(|_| async {});
                    })
                    .await;
                }
            }),
            on_thread({
                let runner = runner.clone();
                async move {
                    scope(&runner, async {
                        defer(Limited::job(|_| async {
                            yield_now().await;
                            Ok(())
                        }));
                        defer_fn(|_| async {});
                    })
                    .await;
                }
            }),
        ];
        join(requests);
        block_on(runner.idle());
        let stats = record.check(&runner, 5);
        assert_eq!((failing.load(Ordering::Relaxed), second.load(Ordering::Relaxed)), (3, 2));
        assert!((3..=4).contains(&stats.succeeded), "{stats:?}");
        assert_eq!(stats.retried, 3);
    });
}

#[test]
fn cancel_is_true_for_a_job_that_never_runs_and_only_for_it() {
    explore(|| {
        let record = Record::default();
        let runner = record.runner().max_running(1).build();
        let ran = Arc::new(AtomicUsize::new(0));
        let (sent, handles) = shuttle::sync::mpsc::channel();
        let request = {
            let (runner, ran) = (runner.clone(), ran.clone());
            on_thread(async move {
                scope(&runner, async move {
                    for _ in 0..3 {
                        let ran = ran.clone();
                        let deferred = defer_fn(move |_| async move {
                            ran.fetch_add(1, Ordering::Relaxed);
                        });
                        sent.send(deferred).expect("the other thread waits");
                    }
                })
                .await;
            })
        };
        let cancelled = shuttle::thread::spawn(move || {
            let handles: Vec<_> = handles.iter().collect();
            handles.iter().filter(|deferred| deferred.cancel()).map(|deferred| deferred.id()).collect()
        });
        join([request]);
        let cancelled: std::collections::BTreeSet<_> = cancelled.join().expect("it does not panic");
        block_on(runner.idle());
        record.check(&runner, 3);
        assert_eq!(record.ended("cancelled"), cancelled);
        assert_eq!(ran.load(Ordering::Relaxed), 3 - cancelled.len());
        assert!(cancelled.iter().all(|id| record.attempts(*id) == 0));
    });
}

#[test]
fn jobs_that_are_shed_are_counted_and_no_room_is_lost() {
    explore(|| {
        let record = Record::default();
        let runner = record.runner().max_running(1).max_pending(1).overflow(Overflow::Shed).build();
        let request = || {
            let runner = runner.clone();
            on_thread(async move {
                scope(&runner, async { (0..3).for_each(|_| drop(defer_fn(|_| yield_now()))) }).await;
            })
        };
        join([request(), request()]);
        block_on(runner.idle());
        let stats = record.check(&runner, 6);
        assert_eq!(stats.succeeded + stats.shed, 6);
        assert!(stats.succeeded >= 1, "{stats:?}");
    });
}

#[test]
fn jobs_with_a_serial_key_and_of_a_limited_type_run_one_at_a_time_and_everybody_gets_on() {
    explore(|| {
        let (record, serial, alone) = (Record::default(), Running::default(), Running::default());
        let runner = record.runner().max_running(2).max_pending(1).build();
        let request = |request| {
            let (runner, serial, alone) = (runner.clone(), serial.clone(), alone.clone());
            on_thread(async move {
                scope(&runner, async {
                    defer_fn(move |_| async move { serial.run(request, 0).await }).serial("cart");
                    defer(Alone::job(move |_| {
                        let alone = alone.clone();
                        async move {
                            alone.run(request, 0).await;
                            Ok(())
                        }
                    }));
                })
                .await;
            })
        };
        join((0..3).map(request));
        block_on(runner.idle());
        record.check(&runner, 6);
        assert_eq!((serial.most(), alone.most()), (1, 1));
    });
}

#[test]
fn of_jobs_with_a_unique_key_no_more_than_one_waits() {
    explore(|| {
        let record = Record::default();
        let runner = record.runner().max_running(1).build();
        let request = || {
            let runner = runner.clone();
            on_thread(async move {
                scope(&runner, async { drop(defer_fn(|_| yield_now()).unique("index")) }).await;
            })
        };
        join([request(), request(), request()]);
        block_on(runner.idle());
        let stats = record.check(&runner, 3);
        assert_eq!(stats.succeeded + stats.cancelled, 3);
        assert!(stats.succeeded >= 1, "{stats:?}");
    });
}

#[test]
fn of_jobs_that_replace_each_other_the_last_word_is_heard_whatever_starts_or_is_cancelled() {
    explore(|| {
        let record = Record::default();
        let runner = record.runner().max_running(1).build();
        let (said, heard) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let request = |is_cancelled: bool| {
            let (runner, said, heard) = (runner.clone(), said.clone(), heard.clone());
            on_thread(async move {
                scope(&runner, async {
                    said.fetch_add(1, Ordering::SeqCst);
                    let says = said.clone();
                    let job = defer_fn(move |_| async move {
                        heard.fetch_max(says.load(Ordering::SeqCst), Ordering::SeqCst);
                    });
                    let job = job.unique("index").replace();
                    if is_cancelled && job.cancel() {
                        said.fetch_sub(1, Ordering::SeqCst);
                    }
                })
                .await;
            })
        };
        join([request(false), request(true), request(false)]);
        block_on(runner.idle());
        let stats = record.check(&runner, 3);
        assert_eq!(stats.succeeded + stats.cancelled, 3);
        assert!(heard.load(Ordering::SeqCst) >= said.load(Ordering::SeqCst), "no change is missed");
    });
}

#[test]
fn what_joins_a_list_while_it_is_released_runs_too() {
    explore(|| {
        let record = Record::default();
        let runner = record.runner().max_running(1).max_pending(1).build();
        let (sent, handles) = shuttle::sync::mpsc::channel();
        let joins = shuttle::thread::spawn(move || {
            let handle: Defer = handles.recv().expect("the request sends it");
            (0..3).for_each(|_| drop(handle.push_fn(|_| async {})));
        });
        let request = {
            let runner = runner.clone();
            on_thread(async move {
                scope(&runner, async move {
                    defer_fn(|_| async {});
                    sent.send(Defer::current().expect("a scope")).expect("the other thread waits");
                })
                .await;
            })
        };
        join([request, joins]);
        block_on(runner.idle());
        let stats = record.check(&runner, 4);
        assert_eq!(stats.succeeded, 4);
    });
}
