//! A shutdown that races with everything else.

mod support;

use std::{collections::BTreeSet, future::pending};

use defer_shuttle::{JobError, JobId, Runner, ShutdownReport, defer, defer_fn, scope};
use shuttle::future::{block_on, yield_now};
use support::{LONG, Pushes, Queued, Record, SHORT, Thrice, explore, join, on_thread};

fn named(reports: &[ShutdownReport]) -> BTreeSet<JobId> {
    let unfinished: Vec<_> = reports.iter().flat_map(|report| &report.unfinished).map(|job| job.id).collect();
    let distinct: BTreeSet<_> = unfinished.iter().copied().collect();
    assert_eq!(distinct.len(), unfinished.len(), "named twice: {reports:?}");
    distinct
}

/// A request with a job that succeeds, one that has several attempts, and one that never ends.
async fn request(runner: Runner) {
    scope(&runner, async {
        defer_fn(|_| yield_now());
        defer(Thrice::job(|cx| async move {
            if cx.attempt() < 3 { Err(JobError::msg("not yet")) } else { Ok(()) }
        }));
        defer_fn(|_| pending::<()>());
    })
    .await;
}

#[test]
fn at_any_deadline_each_job_has_ended_or_is_named() {
    explore(|| {
        let record = Record::default();
        let runner = record.runner().max_running(2).build();
        // The second response may end after the deadline.
        let requests = [on_thread(request(runner.clone())), on_thread(request(runner.clone()))];
        let shutdown = {
            let runner = runner.clone();
            on_thread(async move { runner.shutdown(SHORT).await })
        };
        join(requests);
        let mut reports = join([shutdown]);
        // The rest came after the deadline.
        reports.push(block_on(runner.shutdown(SHORT)));
        block_on(runner.idle());
        let stats = record.check(&runner, 6);
        assert_eq!(named(&reports), record.ended("abandoned"));
        assert!(stats.abandoned >= 2, "two never end: {stats:?}");
        let completed: usize = reports.iter().map(|report| report.completed).sum();
        assert!(completed as u64 <= stats.succeeded, "{reports:?}, {stats:?}");
    });
}

#[test]
fn two_shutdowns_at_once_name_each_job_once() {
    explore(|| {
        let record = Record::default();
        let runner = record.runner().max_running(1).max_pending(2).build();
        block_on(request(runner.clone()));
        let shutdown = || {
            let runner = runner.clone();
            on_thread(async move { runner.shutdown(SHORT).await })
        };
        let reports = join([shutdown(), shutdown()]);
        block_on(runner.idle());
        record.check(&runner, 3);
        assert_eq!(named(&reports), record.ended("abandoned"));
    });
}

#[test]
fn a_shutdown_with_time_waits_for_all_jobs_also_those_that_others_defer() {
    explore(|| {
        let record = Record::default();
        let runner = record.runner().max_running(1).max_pending(1).build();
        let request = {
            let runner = runner.clone();
            on_thread(async move {
                scope(&runner.clone(), async {
                    defer_fn(|_| async {
                        yield_now().await;
                        defer_fn(|_| yield_now());
                    });
                    defer(Thrice::job(|cx| async move {
                        if cx.attempt() < 2 { Err(JobError::msg("not yet")) } else { Ok(()) }
                    }));
                })
                .await;
                // The list exists, so the shutdown finds its jobs.
                runner.shutdown(LONG).await
            })
        };
        let reports = join([request]);
        let stats = record.check(&runner, 3);
        assert_eq!(stats.succeeded, 3);
        assert!(reports[0].unfinished.is_empty(), "{reports:?}");
    });
}

#[test]
fn a_job_of_a_queued_type_is_with_the_queue_or_runs_here_or_is_named() {
    explore(|| {
        let (record, pushes) = (Record::default(), Pushes::default());
        let runner = record.runner().max_running(1).queue(pushes.clone()).build();
        let request = || {
            let runner = runner.clone();
            on_thread(async move {
                scope(&runner, async {
                    for _ in 0..2 {
                        defer(Queued::job(|_| async {
                            yield_now().await;
                            Ok(())
                        }));
                    }
                })
                .await;
            })
        };
        let requests = [request(), request()];
        let shutdown = {
            let runner = runner.clone();
            on_thread(async move { runner.shutdown(SHORT).await })
        };
        join(requests);
        let mut reports = join([shutdown]);
        reports.push(block_on(runner.shutdown(SHORT)));
        block_on(runner.idle());
        let stats = record.check(&runner, 4);
        assert_eq!(named(&reports), record.ended("abandoned"));
        let taken = pushes.taken();
        assert!(
            record.ended("queued").is_subset(&taken),
            "counted as queued, but the queue does not have it"
        );
        assert!(taken.is_disjoint(&record.ended("succeeded")), "the queue has it, and it ran here");
        assert_eq!(stats.succeeded + stats.queued + stats.abandoned, 4, "{stats:?}");
    });
}

#[test]
fn a_job_that_is_cancelled_or_dropped_at_a_shutdown_ends_once() {
    explore(|| {
        let record = Record::default();
        let runner = record.runner().max_running(1).build();
        let (sent, handles) = shuttle::sync::mpsc::channel();
        let request = {
            let runner = runner.clone();
            on_thread(async move {
                scope(&runner, async move {
                    for _ in 0..3 {
                        sent.send(defer_fn(|_| pending::<()>())).expect("the other thread waits");
                    }
                })
                .await;
            })
        };
        let cancels = shuttle::thread::spawn(move || {
            let cancelled = handles.iter().filter(|deferred| deferred.cancel()).map(|deferred| deferred.id());
            cancelled.collect::<BTreeSet<_>>()
        });
        let shutdown = {
            let runner = runner.clone();
            on_thread(async move { runner.shutdown(SHORT).await })
        };
        join([request]);
        let cancelled = cancels.join().expect("it does not panic");
        let mut reports = join([shutdown]);
        reports.push(block_on(runner.shutdown(SHORT)));
        block_on(runner.idle());
        record.check(&runner, 3);
        assert_eq!(record.ended("cancelled"), cancelled);
        assert_eq!(named(&reports), record.ended("abandoned"));
    });
}
