//! Events, hooks, the log and the counts.

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
    JobError, Overflow, Runner, Scope, Stats, defer, defer_fn,
    event::{JobEvent, JobEventKind},
    scope,
};
use support::{
    Events, Kind, Limited, Log, OnSuccess, Other, Plain, Queued, SECOND, Thrice, Twice,
    assert_all_accounted_for, quiet_panics,
};

/// Statistics with these numbers, and zeros.
macro_rules! stats {
    ($($field:ident: $number:expr),* $(,)?) => {{
        let mut stats = Stats::default();
        $(stats.$field = $number;)*
        stats
    }};
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_panics_breaks_nothing_and_the_next_hook_is_told() {
    quiet_panics();
    let (log, _guard) = Log::capture();
    let told = Arc::new(AtomicUsize::new(0));
    let counter = told.clone();
    let runner = Runner::builder()
        .on_event(|_| panic!("on purpose"))
        .on_event(|_| std::panic::panic_any(support::OnDrop(|| panic!("on purpose"))))
        .on_event(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
        })
        .build();
    scope(&runner, async {
        defer(Twice::job(|cx| async move {
            if cx.attempt() == 1 { Err(JobError::msg("again")) } else { Ok(()) }
        }));
        defer(Plain::job(|_| async { Ok(()) }));
        defer(Other::job(|_| async { Ok(()) })).cancel();
    })
    .await;
    runner.idle().await;
    assert_all_accounted_for(&runner);
    let stats = runner.stats();
    assert_eq!((stats.succeeded, stats.cancelled), (2, 1));
    assert_eq!(told.load(Ordering::Relaxed), 5 + 3 + 2);
    assert!(log.lines_with(&["ERROR", "hook panicked"]) >= 10);
}

#[tokio::test(start_paused = true)]
async fn a_hook_may_ask_the_runner() {
    let runner = Arc::new(std::sync::OnceLock::<Runner>::new());
    let asked = runner.clone();
    let most = Arc::new(AtomicUsize::new(0));
    let seen = most.clone();
    let hook = move |_: &_| {
        let pending = asked.get().expect("a runner").stats().pending;
        seen.fetch_max(pending as usize, Ordering::Relaxed);
    };
    let runner = runner.get_or_init(|| Runner::builder().on_event(hook).build());
    scope(runner, async { (0..3).for_each(|_| drop(defer(Plain::job(|_| async { Ok(()) })))) }).await;
    runner.idle().await;
    assert_eq!(most.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn hooks_have_received_every_event_once_the_runner_is_idle() {
    let events = Events::default();
    let runner = events.runner().build();
    for jobs in 1..100 {
        scope(&runner, async { defer(Plain::job(|_| async { Ok(()) })) }).await;
        runner.idle().await;
        assert_eq!(events.count("Succeeded"), jobs);
    }
}

#[tokio::test(start_paused = true)]
async fn each_job_is_in_exactly_one_final_count() {
    quiet_panics();
    let events = Events::default();
    let runner = events.runner().max_running(8).max_pending(8).overflow(Overflow::Shed).build();
    let mut request = Scope::new(runner.clone());
    request.enter(|| {
        defer(Plain::job(|_| async { Ok(()) }));
        defer(Plain::job(|_| async { Err(JobError::msg("no")) }));
        defer(Plain::job(|_| async { panic!("on purpose") }));
        defer(Limited::job(|_| std::future::pending()));
        defer(Thrice::job(|_| async { Err(JobError::msg("no")) }));
        defer(OnSuccess::job(|_| async { Ok(()) }));
        defer(Plain::job(|_| async { Ok(()) })).cancel();
        defer(Plain::job(|_| async { Ok(()) })).key("one");
        defer(Plain::job(|_| async { Ok(()) })).key("one");
        defer(Queued::job(|_| async { Ok(()) }));
        defer(Plain::job(|_| async { Ok(()) }));
    });
    let response = defer_core::ResponseInfo::new(defer_core::Delivery::Panicked);
    request.release(Some(response));
    runner.idle().await;
    scope(&runner, async { defer(Other::job(|_| std::future::pending())) }).await;
    runner.shutdown(SECOND).await;
    assert_all_accounted_for(&runner);
    let expected = stats! {
        deferred: 12, retried: 2, succeeded: 3, failed: 4, skipped: 1, cancelled: 2, shed: 1, abandoned: 1,
    };
    assert_eq!(runner.stats(), expected);
    let finals = |what| events.count(what) as u64;
    assert_eq!(finals("Succeeded"), 3);
    assert_eq!((finals("Failed"), finals("Panicked"), finals("TimedOut")), (2, 1, 1));
    let others = ["Skipped", "Cancelled", "Shed", "Abandoned", "Retrying"].map(finals);
    assert_eq!(others, [1, 2, 1, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn pending_and_running_tell_where_the_jobs_are() {
    let runner = Runner::builder().max_running(1).build();
    let at = |pending, running, deferred| stats! { pending: pending, running: running, deferred: deferred };
    let mut request = Scope::new(runner.clone());
    request.enter(|| {
        defer(Plain::job(|_| async {
            tokio::time::sleep(SECOND).await;
            Ok(())
        }));
        defer(Plain::job(|_| async { Ok(()) }));
    });
    assert_eq!(runner.stats(), at(2, 0, 2));
    request.release(None);
    tokio::time::sleep(SECOND / 2).await;
    assert_eq!(runner.stats(), at(1, 1, 2));
    runner.idle().await;
    assert_eq!(runner.stats(), stats! { deferred: 2, succeeded: 2 });
    scope(&runner, async { defer(Twice::job(|_| async { Err(JobError::msg("later")) })) }).await;
    tokio::time::sleep(SECOND / 2).await;
    assert_eq!((runner.stats().pending, runner.stats().running, runner.stats().retried), (1, 0, 1));
    runner.idle().await;
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn events_are_logged_at_their_level_and_without_the_jobs_fields() {
    quiet_panics();
    let (log, _guard) = Log::capture_from(tracing::Level::DEBUG);
    let runner = Runner::default();
    let mut request = Scope::new(runner.clone());
    request.enter(|| {
        defer(Plain::job(|_| async { Ok(()) }));
        defer(Twice::job(|_| async { Err(JobError::msg("no such host")) }));
        defer(Other::job(|_| async { panic!("on purpose") }));
        defer(Limited::job(|_| std::future::pending()));
        defer(OnSuccess::job(|_| async { Ok(()) }));
    });
    request.release(Some(defer_core::ResponseInfo::new(defer_core::Delivery::Cancelled)));
    runner.idle().await;
    for (level, what, name) in [
        ("DEBUG", "job done", "Plain"),
        ("WARN", "trying again", "Twice"),
        ("ERROR", "job failed", "Twice"),
        ("ERROR", "job panicked", "Other"),
        ("ERROR", "job timed out", "Limited"),
        ("DEBUG", "job skipped", "OnSuccess"),
    ] {
        let name = format!("job=\"{name}\"");
        assert_eq!(log.lines_with(&[level, what, &name]), 1, "{level} {what}: {}", log.text());
    }
    assert_eq!(log.lines_with(&["run{job=\"Twice\"", "attempt=2", "no such host"]), 1, "{}", log.text());
    for line in log.text().lines() {
        assert!(line.contains(" defer: "), "another target: {line}");
        for field in ["job=", " id=", "attempt="] {
            assert!(line.matches(field).count() <= 1, "{field} is repeated: {line}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_defers_does_not_go_round_in_circles() {
    let hook = |event: &JobEvent| {
        if matches!(event.kind(), JobEventKind::Succeeded { .. }) {
            defer_fn(|_| async { tokio::time::sleep(SECOND).await });
        }
    };
    let runner = Runner::builder().on_event(hook).build();
    scope(&runner, async { drop(defer(Plain::job(|_| async { Ok(()) }))) }).await;
    tokio::time::timeout(SECOND * 60, runner.idle()).await.expect("there is an end");
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_logged_with_its_time_where_nothing_less_is_logged() {
    let (log, _guard) = Log::capture_from(tracing::Level::ERROR);
    let runner = Runner::default();
    let fails = Plain::job(|_| async {
        tokio::time::sleep(SECOND).await;
        Err(JobError::msg("on purpose"))
    });
    scope(&runner, async { drop(defer(fails)) }).await;
    runner.idle().await;
    assert_eq!(log.lines_with(&["job failed", "elapsed=1s"]), 1, "{}", log.text());
}

#[tokio::test(start_paused = true)]
async fn a_job_waits_from_when_it_could_have_started() {
    let (started, ended) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let (at_start, at_end) = (started.clone(), ended.clone());
    let runner = Runner::builder()
        .on_event(move |event| {
            let seen = if matches!(event.kind(), JobEventKind::Started) { &at_start } else { &at_end };
            seen.lock().unwrap().extend(event.wait().map(|wait| (event.name(), wait)));
        })
        .build();
    scope(&runner, async {
        defer(Plain::job(|_| async {
            tokio::time::sleep(2 * SECOND).await;
            defer(Other::job(|_| async { Ok(()) }));
            tokio::time::sleep(SECOND).await;
            Ok(())
        }));
        defer(Limited::job(|_| async { Ok(()) }));
        defer(OnSuccess::job(|_| async { Ok(()) })).always().delay(10 * SECOND);
        // Its response is over a second later, and only then does it wait.
        tokio::time::sleep(SECOND).await;
    })
    .await;
    assert_eq!(runner.oldest_pending(), Some(Duration::ZERO));
    tokio::time::sleep(SECOND).await;
    assert_eq!(runner.oldest_pending(), Some(SECOND));
    runner.idle().await;
    assert_eq!(runner.oldest_pending(), None);
    let expected = [
        ("Plain", Duration::ZERO),
        ("Limited", 3 * SECOND),
        ("Other", SECOND),
        ("OnSuccess", Duration::ZERO),
    ];
    assert_eq!(*started.lock().unwrap(), expected);
    // The end of an attempt repeats it.
    assert_eq!(*ended.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_from_the_end_of_its_backoff() {
    let waits = Arc::new(Mutex::new(Vec::new()));
    let seen = waits.clone();
    let runner = Runner::builder()
        .max_running(1)
        .on_event(move |event| {
            let is_end = !matches!(event.kind(), JobEventKind::Started);
            seen.lock().unwrap().extend(event.wait().filter(|_| is_end).map(|wait| (event.attempt(), wait)));
        })
        .build();
    scope(&runner, async {
        defer(Twice::job(|_| async { Err(JobError::msg("later")) }));
        // Holds the permit until long after the backoff of a second.
        defer(Other::job(|_| async {
            tokio::time::sleep(5 * SECOND).await;
            Ok(())
        }));
    })
    .await;
    runner.idle().await;
    let waits = waits.lock().unwrap().clone();
    let second = waits.iter().find(|(attempt, _)| *attempt == 2).expect("there was one").1;
    assert!((3 * SECOND..=5 * SECOND).contains(&second), "{waits:?}");
}

#[tokio::test]
async fn a_hook_can_be_added_to_a_runner_that_exists() {
    let runner = Runner::default();
    run_one(&runner).await;
    let (first, second) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let (seen, later, adding) = (first.clone(), second.clone(), runner.clone());
    runner.on_event(move |event| {
        // A hook may add another.
        if seen.lock().unwrap().is_empty() {
            let later = later.clone();
            adding.on_event(move |event| later.lock().unwrap().push(event.id()));
        }
        seen.lock().unwrap().push(event.id());
        defer_fn(|_| async {}); // on the global runner
    });
    for _ in 0..2 {
        run_one(&runner).await;
    }
    assert_eq!(first.lock().unwrap().len(), 6, "deferred, started and succeeded, twice");
    // It may or may not be called for the event during which it was added.
    assert!((5..=6).contains(&second.lock().unwrap().len()));
    assert_eq!(runner.stats().succeeded, 3);
}

/// Runs a job that does nothing.
async fn run_one(runner: &Runner) {
    scope(runner, async { defer(Plain::job(|_| async { Ok(()) })) }).await;
    runner.idle().await;
}

#[tokio::test(start_paused = true)]
async fn running_jobs_are_listed_with_how_long_they_have_run() {
    let runner = Runner::builder().max_running(2).max_pending(7).on_event(|_| {}).build();
    scope(&runner, async {
        defer(Plain::job(|_| std::future::pending()));
        defer(Plain::job(|_| async { Ok(()) }));
    })
    .await;
    scope(&runner, async {
        defer(Other::job(|_| std::future::pending())).delay(SECOND);
    })
    .await;
    tokio::time::sleep(3 * SECOND).await;
    let mut running = runner.running();
    running.sort_by_key(|job| job.name);
    let seen: Vec<_> = running.iter().map(|job| (job.name, job.attempt, job.elapsed.unwrap())).collect();
    assert_eq!(seen, [("Other", 1, 2 * SECOND), ("Plain", 1, 3 * SECOND)]);
    let load = runner.load();
    assert_eq!((load.running, load.max_running, load.waiting, load.max_pending), (2, 2, 1, 7));
    assert!(!load.shutdown_announced && load.held_responses == 0);
    let unfinished: Vec<_> = runner.count_by_name().into_iter().collect();
    assert_eq!(unfinished, [("Other", 1), ("Plain", 2)], "those that run and those that wait");
    assert_eq!(runner.shutdown(SECOND).await.unfinished.len(), 3);
    assert!(runner.running().is_empty() && runner.count_by_name().is_empty());
}

#[tokio::test]
async fn shutdown_announced_completes_at_the_announcement_and_jobs_are_not_told() {
    let runner = Runner::default();
    let (told, mut is_told) = tokio::sync::oneshot::channel();
    scope(&runner, async {
        defer_fn(|cx| async move {
            cx.shutting_down().await;
            let _ = told.send(());
        });
    })
    .await;
    let closing = tokio::spawn({
        let runner = runner.clone();
        async move { runner.shutdown_announced().await }
    });
    assert!(!runner.load().shutdown_announced);
    runner.announce_shutdown();
    closing.await.unwrap();
    runner.shutdown_announced().await;
    assert!(runner.load().shutdown_announced);
    assert!(is_told.try_recv().is_err(), "the shutdown has not begun");
    runner.shutdown(60 * SECOND).await;
    is_told.await.unwrap();
    runner.announce_shutdown();
    runner.shutdown_announced().await;
}
