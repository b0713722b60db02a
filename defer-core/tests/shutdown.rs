//! Shutdown: what is waited for, what is stopped at the deadline, and what a runtime takes with it.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use defer_core::{
    Defer, JobContext, JobError, JobResult, Runner, Scope, ShutdownReport, Stats, UnfinishedJob, defer,
    defer_fn, scope,
};
use support::{
    Events, Journal, Kind, Log, OnDrop, Other, Patient, Plain, Release, RunNow, SECOND, Thrice, Twice,
    assert_all_accounted_for, assert_room_for, defer_note, quiet_panics,
};
use tokio::{
    sync::{Notify, Semaphore, mpsc, oneshot},
    task::JoinSet,
    time::Instant,
};

/// A job that never ends, and what it says when it is stopped.
fn hanging(journal: &Journal) -> support::Does<Plain> {
    let journal = journal.clone();
    Plain::job(move |_| {
        let journal = journal.clone();
        async move {
            let _stopped = OnDrop(move || journal.note("stopped"));
            std::future::pending().await
        }
    })
}

fn names(report: &ShutdownReport) -> Vec<&str> {
    report.unfinished.iter().map(|job| job.name.as_str()).collect()
}

/// The report of a shutdown that left nothing.
fn completed(jobs: usize) -> ShutdownReport {
    let mut report = ShutdownReport::default();
    report.completed = jobs;
    report
}

#[tokio::test(start_paused = true)]
async fn a_delayed_job_runs_when_a_shutdown_begins_if_its_type_says_so() {
    let hour = SECOND * 3600;
    let (runner, journal) = (Runner::default(), Journal::default());
    let note = |what: &'static str| {
        let journal = journal.clone();
        RunNow::job(move |_| {
            journal.note(what);
            async { Ok(()) }
        })
    };
    let since = Instant::now();
    scope(&runner, async {
        defer(note("early")).delay(hour);
        defer(note("due before")).delay(SECOND);
        defer(Plain::job(|_| async { Ok(()) })).delay(hour);
        defer(RunNow::job(|cx| async move {
            // Another attempt is not put forward.
            if cx.attempt() == 1 { Err(JobError::msg("on purpose")) } else { Ok(()) }
        }));
    })
    .await;
    // Virtual time, in which one of them becomes due.
    tokio::time::sleep(SECOND * 2).await;
    assert_eq!(journal.lines(), ["due before"]);
    let of_job = note("deferred while it drains");
    scope(&runner, async {
        defer_fn(move |cx| async move {
            cx.shutting_down().await;
            defer(of_job).delay(hour);
        });
    })
    .await;
    let report = runner.shutdown(SECOND).await;
    assert_eq!(journal.lines(), ["due before", "early", "deferred while it drains"]);
    assert_eq!((report.completed, names(&report)), (3, vec!["Plain", "RunNow"]));
    assert_eq!(since.elapsed(), SECOND * 3, "the two that are not put forward have until the deadline");
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn it_waits_for_the_jobs_that_run_and_those_that_wait() {
    let runner = Runner::builder().max_running(1).build();
    for _ in 0..3 {
        scope(&runner, async { (0..2).for_each(|_| drop(defer_fn(|_| tokio::time::sleep(SECOND)))) }).await;
    }
    let since = Instant::now();
    let report = runner.shutdown(SECOND * 30).await;
    assert_eq!(report, completed(6));
    assert!(since.elapsed() < SECOND * 7, "no longer than it has to: {:?}", since.elapsed());
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn it_waits_for_another_try() {
    let runner = Runner::default();
    scope(&runner, async {
        defer(Thrice::job(|cx| async move {
            if cx.attempt() < 3 { Err(JobError::msg("not yet")) } else { Ok(()) }
        }));
    })
    .await;
    let report = runner.shutdown(SECOND * 30).await;
    assert_eq!((report.completed, runner.stats().succeeded), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn it_waits_for_the_jobs_of_a_request_that_is_open() {
    let runner = Runner::default();
    let open = runner.clone();
    let request = tokio::spawn(async move {
        scope(&open, async {
            defer_fn(|_| async {});
            tokio::time::sleep(SECOND).await;
        })
        .await;
    });
    tokio::task::yield_now().await;
    let report = runner.shutdown(SECOND * 30).await;
    assert_eq!(report, completed(1));
    request.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn jobs_that_wait_for_it_are_told() {
    let runner = Runner::default();
    scope(&runner, async {
        for _ in 0..3 {
            defer_fn(|cx: JobContext| async move { cx.shutting_down().await });
        }
    })
    .await;
    tokio::task::yield_now().await;
    assert_eq!(runner.stats().succeeded, 0);
    let since = Instant::now();
    let report = runner.shutdown(SECOND * 30).await;
    assert_eq!((report.completed, since.elapsed()), (3, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn jobs_deferred_while_it_drains_run() {
    let (runner, journal) = (Runner::default(), Journal::default());
    let of_job = journal.clone();
    scope(&runner, async {
        defer_fn(|cx: JobContext| async move {
            cx.shutting_down().await;
            defer_note(&of_job, "by a job");
        });
    })
    .await;
    let shutdown = tokio::spawn({
        let runner = runner.clone();
        async move { runner.shutdown(SECOND * 30).await }
    });
    scope(&runner, async {
        defer_note(&journal, "by a request");
        tokio::time::sleep(SECOND).await;
    })
    .await;
    assert_eq!(shutdown.await.unwrap(), completed(3));
    assert_eq!(journal.lines(), ["by a job", "by a request"]);
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_the_unfinished_jobs_are_stopped_and_named() {
    let events = Events::default();
    let runner = events.runner().max_running(2).max_pending(100).build();
    let journal = Journal::default();
    let (running, waiting_in_line) = scope(&runner, async {
        (defer(hanging(&journal)).id(), defer(Other::job(|_| async { unreachable!("it is too late") })).id())
    })
    .await;
    let between_tries =
        scope(&runner, async { defer(Patient::job(|_| async { Err(JobError::msg("later")) })).id() }).await;
    tokio::time::sleep(SECOND).await;
    scope(&runner, async { defer(hanging(&journal)) }).await;
    tokio::time::sleep(SECOND).await;
    let waiting_for_a_permit = scope(&runner, async { defer(Thrice::job(|_| async { Ok(()) })).id() }).await;
    let mut open = Scope::new(runner.clone());
    let collected = open.enter(|| defer(Twice::job(|_| async { Ok(()) })).id());
    let done = scope(&runner, async { defer(Plain::job(|_| async { Ok(()) })).id() }).await;

    let since = Instant::now();
    let report = runner.shutdown(SECOND * 3).await;
    assert!(since.elapsed() >= SECOND * 3 && since.elapsed() < SECOND * 4);
    assert_eq!(names(&report), ["Plain", "Other", "Patient", "Plain", "Thrice", "Twice", "Plain"]);
    let ids: Vec<_> = report.unfinished.iter().map(|job| job.id).collect();
    for id in [running, waiting_in_line, between_tries, waiting_for_a_permit, collected, done] {
        assert!(ids.contains(&id));
    }
    assert_eq!((report.completed, report.queued), (0, 0));
    assert_eq!((events.count("Abandoned"), runner.stats().abandoned), (7, 7));
    assert_all_accounted_for(&runner);
    open.release(None);
    tokio::time::sleep(Duration::from_secs(7200)).await;
    assert_eq!(journal.lines(), ["stopped", "stopped"]);
    assert_eq!(events.all().iter().filter(|event| event.is_final()).count(), 7);
    assert_room_for(&runner, 100);
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_a_later_try_is_stopped_too() {
    let (runner, journal) = (Runner::builder().max_running(1).build(), Journal::default());
    let of_job = journal.clone();
    scope(&runner, async {
        defer(Twice::job(move |cx| {
            let stopped = of_job.clone();
            async move {
                if cx.attempt() == 1 {
                    return Err(JobError::msg("again"));
                }
                let _stopped = OnDrop(move || stopped.note("stopped"));
                std::future::pending().await
            }
        }));
    })
    .await;
    let report = runner.shutdown(SECOND * 10).await;
    assert_eq!(names(&report), ["Twice"]);
    tokio::task::yield_now().await;
    assert_eq!(journal.lines(), ["stopped"]);
    scope(&runner, async { defer_note(&journal, "its permit is free") }).await;
    tokio::time::timeout(SECOND, runner.idle()).await.expect("a permit for the next job");
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_a_job_between_two_tries_is_dropped() {
    let (runner, dropped) = (Runner::default(), Arc::new(Notify::new()));
    let tells = dropped.clone();
    scope(&runner, async {
        let on_drop = OnDrop(move || tells.notify_one());
        let on_drop = Mutex::new(on_drop);
        defer(Patient::job(move |_| {
            let _kept = &on_drop;
            async { Err(JobError::msg("later")) }
        }));
    })
    .await;
    runner.shutdown(SECOND).await;
    tokio::time::timeout(SECOND, dropped.notified()).await.expect("it does not stay for an hour");
}

/// With many jobs behind one that hangs: the report names them, whichever code ends them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_unfinished_job_is_named_whichever_thread_stops_it() {
    for _ in 0..50 {
        let runner = Runner::builder().max_running(2).build();
        for _ in 0..2 {
            scope(&runner, async {
                defer(Plain::job(|_| std::future::pending()));
                (0..500).for_each(|_| drop(defer(Other::job(|_| async { Ok(()) }))));
            })
            .await;
        }
        let report = runner.shutdown(Duration::from_millis(1)).await;
        assert_eq!((report.unfinished.len(), runner.stats().abandoned), (1_002, 1_002));
        assert_all_accounted_for(&runner);
    }
}

/// The deadline falls while jobs start, run, fail, defer and end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_any_moment_the_report_and_the_counts_agree() {
    async fn busy(cx: JobContext, _lives: mpsc::Sender<()>) -> JobResult {
        tokio::task::yield_now().await;
        if u128::from(cx.id()) % 3 == 0 {
            defer_fn(|_| async { tokio::task::yield_now().await });
        }
        if u128::from(cx.id()) % 5 == 0 { Err(JobError::msg("again")) } else { Ok(()) }
    }
    for round in 0..200 {
        let events = Events::default();
        let runner = events.runner().max_running(4).build();
        let (lives, mut all_dropped) = mpsc::channel(1);
        let job = || {
            let lives = lives.clone();
            move |cx| busy(cx, lives.clone())
        };
        for _ in 0..20 {
            scope(&runner, async {
                for _ in 0..5 {
                    defer(Twice::job(job()));
                    defer(Plain::job(job()));
                }
            })
            .await;
        }
        let before: Vec<_> = events.all().iter().map(|event| event.id).collect();
        let done = |stats: Stats| stats.succeeded + stats.failed;
        let report = runner.shutdown(Duration::from_micros(round * 5)).await;
        // A job that is stopped while it is polled may yet defer another.
        drop(lives);
        assert_eq!(all_dropped.recv().await, None);
        tokio::time::timeout(SECOND * 10, runner.idle()).await.expect("nothing is left");
        let after = runner.stats();
        assert_all_accounted_for(&runner);
        assert!(report.completed as u64 <= done(after));
        // Only one that was deferred by a job which was being stopped may have no place in the report.
        for lost in
            events.all().iter().filter(|event| event.what == "Abandoned" && before.contains(&event.id))
        {
            assert!(report.unfinished.iter().any(|job| job.id == lost.id), "{lost:?}");
        }
        assert!(report.unfinished.len() as u64 <= after.abandoned);
        let finals = events.all().iter().filter(|event| event.is_final()).count();
        assert_eq!(finals as u64, after.deferred);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_never_yields_is_still_named_and_does_not_delay_the_end() {
    let events = Events::default();
    let runner = events.runner().build();
    let release = Release::new();
    let (started, starts) = oneshot::channel();
    let (spin, started) = (release.spin(), Mutex::new(Some(started)));
    scope(&runner, async {
        defer(Plain::job(move |_| {
            started.lock().unwrap().take().unwrap().send(()).unwrap();
            spin();
            async { Ok(()) }
        }));
        defer(Other::job(|_| async { Ok(()) }));
    })
    .await;
    starts.await.unwrap();
    let report = runner.shutdown(Duration::from_millis(20)).await;
    assert_eq!((names(&report), report.completed), (vec!["Plain", "Other"], 0));
    assert_all_accounted_for(&runner);
    let (done, ended) = oneshot::channel();
    scope(&runner, async { defer_fn(|_| async { done.send(()).unwrap() }) }).await;
    ended.await.unwrap();
    drop(release);
    runner.idle().await;
    assert_eq!(events.of("Plain"), ["Deferred 0", "Started 1", "Abandoned 1"]);
    assert_eq!(events.of("Other"), ["Deferred 0", "Abandoned 0"]);
}

#[tokio::test(start_paused = true)]
async fn a_second_shutdown_is_harmless() {
    let (runner, journal) = (Runner::default(), Journal::default());
    scope(&runner, async { defer(hanging(&journal)) }).await;
    assert_eq!(names(&runner.shutdown(SECOND).await), ["Plain"]);
    assert_eq!(runner.shutdown(SECOND).await, ShutdownReport::default());
    scope(&runner, async { defer_note(&journal, "a job after it") }).await;
    assert_eq!(runner.shutdown(SECOND).await.completed, 1);
    assert_eq!(journal.lines(), ["stopped", "a job after it"]);
}

#[tokio::test(start_paused = true)]
async fn of_two_shutdowns_at_once_each_job_is_named_by_one() {
    let (runner, journal) = (Runner::default(), Journal::default());
    scope(&runner, async { (0..3).for_each(|_| drop(defer(hanging(&journal)))) }).await;
    let (one, other) = tokio::join!(runner.shutdown(SECOND), runner.shutdown(SECOND));
    let mut named: Vec<UnfinishedJob> = one.unfinished.into_iter().chain(other.unfinished).collect();
    named.dedup();
    assert_eq!((named.len(), runner.stats().abandoned), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_without_jobs_is_over_at_once() {
    let since = Instant::now();
    assert_eq!(Runner::default().shutdown(SECOND * 30).await, ShutdownReport::default());
    assert_eq!(since.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_that_is_dropped_stops_nothing() {
    let (runner, journal) = (Runner::default(), Journal::default());
    scope(&runner, async { defer(hanging(&journal)) }).await;
    tokio::time::timeout(SECOND, runner.shutdown(SECOND * 30)).await.unwrap_err();
    assert!(journal.lines().is_empty());
    assert_eq!(names(&runner.shutdown(SECOND).await), ["Plain"]);
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_held_back_is_let_go_at_the_deadline() {
    let runner = Runner::builder().max_running(1).max_pending(1).build();
    scope(&runner, async { defer(Plain::job(|_| std::future::pending())) }).await;
    tokio::task::yield_now().await;
    scope(&runner, async { defer(Plain::job(|_| async { Ok(()) })) }).await;
    let held = tokio::spawn({
        let runner = runner.clone();
        async move { scope(&runner, async { drop(defer(Plain::job(|_| async { Ok(()) }))) }).await }
    });
    tokio::task::yield_now().await;
    assert_eq!(runner.shutdown(SECOND).await.unfinished.len(), 3);
    tokio::time::timeout(SECOND, held).await.expect("the response goes").unwrap();
    assert_all_accounted_for(&runner);
    assert_room_for(&runner, 1);
}

#[tokio::test(start_paused = true)]
async fn jobs_whose_drop_panics_are_still_stopped() {
    quiet_panics();
    let runner = Runner::builder().max_running(1).build();
    let bombs = || {
        scope(&runner, async {
            for _ in 0..3 {
                let of_job = Mutex::new(OnDrop(|| panic!("on purpose")));
                defer(Plain::job(move |_| {
                    let _kept = &of_job;
                    async {
                        let _of_future = OnDrop(|| panic!("on purpose"));
                        std::future::pending().await
                    }
                }));
            }
        })
    };
    bombs().await;
    bombs().await;
    assert_eq!(runner.shutdown(SECOND).await.unfinished.len(), 6);
    assert_all_accounted_for(&runner);
    scope(&runner, async { defer_fn(|_| async {}) }).await;
    runner.idle().await;
    assert_eq!(runner.stats().succeeded, 1);
}

/// Runs `start` on a runtime that is dropped while its jobs are under way.
fn on_a_runtime_that_is_dropped(
    runtime: &mut tokio::runtime::Builder,
    runner: &Runner,
    start: impl AsyncFnOnce(&Runner),
) {
    let runtime = runtime.enable_all().build().unwrap();
    runtime.block_on(async {
        start(runner).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    });
}

async fn under_way(runner: &Runner) {
    scope(runner, async {
        defer(Plain::job(|_| std::future::pending()));
        defer(Other::job(|_| async { Ok(()) }));
    })
    .await;
    tokio::task::yield_now().await;
    scope(runner, async { defer(Patient::job(|_| async { Err(JobError::msg("later")) })) }).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    scope(runner, async { defer(Plain::job(|_| std::future::pending())) }).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    scope(runner, async { defer(Thrice::job(|_| async { Ok(()) })) }).await;
    let (deferred, in_scope) = oneshot::channel();
    let runner = runner.clone();
    tokio::spawn(async move {
        scope(&runner, async {
            defer(Twice::job(|_| async { Ok(()) }));
            deferred.send(()).unwrap();
            std::future::pending::<()>().await;
        })
        .await;
    });
    in_scope.await.unwrap();
}

#[test]
fn a_runtime_that_is_dropped_without_a_shutdown_abandons_each_job_with_an_event_and_an_error_in_the_log() {
    let (log, _guard) = Log::capture();
    let events = Events::default();
    let runner = events.runner().max_running(2).build();
    on_a_runtime_that_is_dropped(&mut tokio::runtime::Builder::new_current_thread(), &runner, under_way);
    assert_all_accounted_for(&runner);
    assert_eq!(runner.stats().abandoned, 6);
    for (name, jobs) in [("Plain", 2), ("Other", 1), ("Patient", 1), ("Thrice", 1), ("Twice", 1)] {
        let of_name = events.of(name);
        assert_eq!(
            of_name.iter().filter(|event| event.starts_with("Abandoned")).count(),
            jobs,
            "{of_name:?}"
        );
        let name = format!("job=\"{name}\"");
        assert_eq!(log.lines_with(&["ERROR", "abandoned", &name]), jobs, "{}", log.text());
    }
}

#[test]
fn a_runtime_of_several_threads_that_is_dropped_abandons_each_job_once() {
    for _ in 0..50 {
        let events = Events::default();
        let runner = events.runner().max_running(2).build();
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        on_a_runtime_that_is_dropped(runtime.worker_threads(2), &runner, under_way);
        assert_all_accounted_for(&runner);
        assert_eq!(runner.stats().abandoned, 6);
        assert_eq!(events.count("Abandoned"), 6);
    }
}

#[test]
fn a_runner_outlives_a_runtime_and_works_on_the_next() {
    let runner = Runner::builder().max_running(2).max_pending(3).build();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    on_a_runtime_that_is_dropped(&mut runtime, &runner, under_way);
    let runtime = runtime.build().unwrap();
    let before = runner.stats().succeeded;
    runtime.block_on(async {
        scope(&runner, async { (0..3).for_each(|_| drop(defer_fn(|_| async {}))) }).await;
        runner.idle().await;
        assert_room_for(&runner, 3);
    });
    assert_eq!(runner.stats().succeeded - before, 3);
}

#[test]
fn jobs_deferred_on_a_runtime_that_is_gone_are_abandoned_not_lost() {
    let runner = Runner::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let list = runtime.block_on(scope(&runner, async { Defer::current().expect("a scope") }));
    drop(runtime);
    list.push_fn(|_| async {});
    assert_eq!(runner.stats().abandoned, 1);
    assert_all_accounted_for(&runner);
}

#[test]
fn a_runtime_that_is_dropped_with_jobs_whose_drop_panics_does_not_take_the_process_with_it() {
    quiet_panics();
    let runner = Runner::default();
    on_a_runtime_that_is_dropped(
        &mut tokio::runtime::Builder::new_current_thread(),
        &runner,
        async |runner: &Runner| {
            scope(runner, async {
                for _ in 0..3 {
                    let of_job = Mutex::new(OnDrop(|| panic!("on purpose")));
                    defer(Plain::job(move |_| {
                        let _kept = &of_job;
                        async {
                            let _of_future = OnDrop(|| panic!("on purpose"));
                            std::future::pending().await
                        }
                    }));
                }
            })
            .await;
        },
    );
    assert_eq!(runner.stats().abandoned, 3);
    assert_all_accounted_for(&runner);
}

#[tokio::test]
async fn a_scope_that_is_never_released_abandons_its_jobs_when_it_is_dropped() {
    let events = Events::default();
    let runner = events.runner().build();
    let mut request = Scope::new(runner.clone());
    request.enter(|| defer(Plain::job(|_| async { Ok(()) })));
    drop(request);
    assert_eq!(events.of("Plain"), ["Deferred 0", "Abandoned 0"]);
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn idle_waits_for_every_job_and_those_that_they_defer() {
    let (runner, ended) = (Runner::default(), Arc::new(AtomicUsize::new(0)));
    runner.idle().await;
    for _ in 0..10 {
        let ended = ended.clone();
        scope(&runner, async {
            defer_fn(|_| async move {
                tokio::time::sleep(SECOND).await;
                let after = ended.clone();
                defer_fn(|_| async move {
                    tokio::time::sleep(SECOND).await;
                    after.fetch_add(1, Ordering::Relaxed);
                });
                ended.fetch_add(1, Ordering::Relaxed);
            })
        })
        .await;
    }
    tokio::join!(runner.idle(), runner.idle());
    assert_eq!(ended.load(Ordering::Relaxed), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_is_never_missed() {
    let runner = Runner::default();
    let turns = Arc::new(Semaphore::new(0));
    for _ in 0..10_000 {
        let turn = turns.clone();
        scope(&runner, async { defer_fn(move |_| async move { turn.add_permits(1) }) }).await;
        runner.idle().await;
        turns.try_acquire().expect("the job has run").forget();
    }
}

/// While scopes are dropped unreleased, whose jobs are abandoned one after another.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn shutdowns_at_once_count_only_what_has_ended() {
    let runner = Runner::default();
    scope(&runner, async { (0..10).for_each(|_| drop(defer(Plain::job(|_| async { Ok(()) })))) }).await;
    runner.idle().await;
    let mut tasks = JoinSet::new();
    for _ in 0..2 {
        let runner = runner.clone();
        tasks.spawn(async move {
            for _ in 0..2_000 {
                let mut lost = defer_core::Scope::new(runner.clone());
                lost.enter(|| (0..100).for_each(|_| drop(defer(Plain::job(|_| async { Ok(()) })))));
                drop(lost);
            }
            Vec::new()
        });
    }
    for _ in 0..2 {
        let runner = runner.clone();
        tasks.spawn(async move {
            let mut reports = Vec::new();
            for _ in 0..5_000 {
                reports.push(runner.shutdown(Duration::ZERO).await);
            }
            reports
        });
    }
    let reports: Vec<ShutdownReport> = tasks.join_all().await.into_iter().flatten().collect();
    assert_all_accounted_for(&runner);
    assert_eq!(runner.stats().succeeded, 10);
    for report in reports {
        assert_eq!(report.completed, 0, "nothing but what was abandoned has ended: {report:?}");
    }
}
