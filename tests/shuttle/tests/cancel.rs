//! Jobs that are cancelled by their ids at any moment: before they start, while they run or wait, and when they end.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
};

use defer_shuttle::{Cancel, Deferred, JobContext, JobError, JobId, Runner, defer, defer_fn, scope};
use shuttle::{
    future::{block_on, yield_now},
    sync::mpsc::{Receiver, channel},
};
use support::{Beside, Record, SHORT, Thrice, explore, join, on_thread};

/// Cancels each job as soon as it is deferred, and returns the answers.
fn cancel_all(
    runner: &Runner,
    jobs: Receiver<JobId>,
) -> shuttle::thread::JoinHandle<BTreeMap<JobId, Cancel>> {
    let runner = runner.clone();
    on_thread(async move {
        let mut answers = BTreeMap::new();
        for id in jobs.iter() {
            answers.insert(id, runner.cancel(id).await);
        }
        answers
    })
}

/// Defers these jobs in a request, cancels each as soon as it is deferred, and returns the answers once all have ended.
fn cancel_each(
    runner: &Runner,
    jobs: impl FnOnce() -> Vec<Deferred> + Send + 'static,
) -> BTreeMap<JobId, Cancel> {
    let (deferred, ids) = channel();
    let request = on_thread({
        let runner = runner.clone();
        async move {
            scope(&runner, async move {
                for job in jobs() {
                    deferred.send(job.id()).expect("the other thread waits");
                }
            })
            .await;
        }
    });
    let answers = cancel_all(runner, ids);
    join([request]);
    let answers = answers.join().expect("it does not panic");
    block_on(runner.idle());
    answers
}

#[test]
fn a_job_that_is_cancelled_by_its_id_has_one_end_and_the_answer_is_true() {
    explore(|| {
        let record = Record::default();
        let runner = record.runner().max_running(2).keep_outcomes(10).build();
        let answers = cancel_each(&runner, || {
            let twice_refused = |cx: JobContext| async move {
                yield_now().await;
                if cx.attempt() < 3 { Err(JobError::msg("not yet")) } else { Ok(()) }
            };
            let beside = |_| async {
                yield_now().await;
                Ok(())
            };
            vec![
                defer_fn(|_| yield_now()),
                defer(Thrice::job(twice_refused)),
                defer(Beside::job(beside)),
                defer_fn(|_| yield_now()).delay(SHORT),
            ]
        });
        let stats = record.check(&runner, 4);
        assert_eq!(stats.succeeded + stats.cancelled, 4, "{stats:?}");
        let cancelled = record.ended("cancelled");
        for (id, answer) in answers {
            let is_cancelled = cancelled.contains(&id);
            match answer {
                Cancel::Cancelled => assert!(is_cancelled),
                Cancel::Asked => {}
                Cancel::Ended => assert!(!is_cancelled),
                answer => unreachable!("{answer:?}"),
            }
        }
    });
}

#[test]
fn a_job_that_waits_to_be_cancelled_is_told_whenever_it_is_asked() {
    explore(|| {
        let record = Record::default();
        let runner = record.runner().max_running(1).keep_outcomes(10).build();
        let answers = cancel_each(&runner, || {
            vec![
                defer_fn(|cx| async move { cx.cancelled().await }),
                defer(Beside::job(|cx| async move {
                    cx.cancelled().await;
                    Ok(())
                })),
            ]
        });
        record.check(&runner, 2);
        for (id, answer) in answers {
            let expected = match answer {
                Cancel::Cancelled => "cancelled",
                Cancel::Asked => "succeeded",
                answer => unreachable!("{answer:?}"),
            };
            assert!(record.ended(expected).contains(&id), "{id}: {answer:?}");
        }
    });
}

#[test]
fn a_job_that_waits_for_something_else_is_dropped_and_a_task_of_its_own_is_told() {
    explore(|| {
        let record = Record::default();
        let runner = record.runner().max_running(1).keep_outcomes(10).build();
        drop(cancel_each(&runner, || {
            vec![
                defer_fn(|_| pending::<()>()),
                defer(Beside::job(|cx| {
                    // `check` waits for this task.
                    drop(tokio::task::spawn(async move { cx.cancelled().await }));
                    pending()
                })),
            ]
        }));
        assert_eq!(record.check(&runner, 2).cancelled, 2);
    });
}

#[test]
fn of_two_that_cancel_a_job_no_more_than_one_ends_it() {
    explore(|| {
        let record = Record::default();
        let runner = record.runner().max_running(1).keep_outcomes(10).build();
        let (ids, jobs) = channel();
        let (handles, deferred) = channel();
        let request = on_thread({
            let runner = runner.clone();
            async move {
                scope(&runner, async move {
                    for _ in 0..2 {
                        let job = defer_fn(|_| yield_now());
                        ids.send(job.id()).expect("the other thread waits");
                        handles.send(job).expect("the other thread waits");
                    }
                })
                .await;
            }
        });
        let by_id = cancel_all(&runner, jobs);
        let by_handle = shuttle::thread::spawn(move || {
            let handles = deferred.iter();
            handles.filter(|job| job.cancel()).map(|job| job.id()).collect::<BTreeSet<_>>()
        });
        join([request]);
        let by_id = by_id.join().expect("it does not panic");
        let by_handle = by_handle.join().expect("it does not panic");
        block_on(runner.idle());
        record.check(&runner, 2);
        let cancelled = record.ended("cancelled");
        assert!(by_handle.is_subset(&cancelled), "{by_handle:?} of {cancelled:?}");
        for (id, answer) in by_id {
            assert!(answer != Cancel::Cancelled || cancelled.contains(&id), "{id}: {answer:?}");
            assert!(answer != Cancel::Cancelled || record.attempts(id) == 0, "{id} had started");
        }
    });
}
