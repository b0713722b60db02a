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

use defer_core::{JobError, JobEvent, JobEventKind, Overflow, Runner, Scope, Stats, defer, defer_fn, scope};
use support::{
    Events, Kind, Limited, Log, OnSuccess, Other, Plain, Queued, SECOND, Thrice, Twice,
    assert_all_accounted_for, quiet_panics,
};

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
async fn who_sees_that_the_runner_is_idle_has_been_told_everything() {
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
    let expected = Stats { deferred: 12, retried: 2, succeeded: 3, failed: 4, ..Stats::default() };
    let expected = Stats { skipped: 1, cancelled: 2, shed: 1, abandoned: 1, ..expected };
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
    let at = |pending, running, deferred| Stats { pending, running, deferred, ..Stats::default() };
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
    assert_eq!(runner.stats(), Stats { deferred: 2, succeeded: 2, ..Stats::default() });
    scope(&runner, async { defer(Twice::job(|_| async { Err(JobError::msg("later")) })) }).await;
    tokio::time::sleep(SECOND / 2).await;
    assert_eq!((runner.stats().pending, runner.stats().running, runner.stats().retried), (1, 0, 1));
    runner.idle().await;
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn what_happens_is_logged_at_its_level_and_without_the_jobs_fields() {
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
        ("WARN", "job skipped", "OnSuccess"),
    ] {
        let name = format!("name=\"{name}\"");
        assert_eq!(log.lines_with(&[level, what, &name]), 1, "{level} {what}: {}", log.text());
    }
    assert_eq!(log.lines_with(&["job{name=\"Twice\"", "attempt=2", "no such host"]), 1, "{}", log.text());
    for line in log.text().lines() {
        assert!(line.contains(" defer: "), "another target: {line}");
        // With the feature `opentelemetry` a span has this name, too.
        let line = line.replace("otel.name=", "");
        for field in ["name=", " id=", "attempt="] {
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
    let waits = Arc::new(Mutex::new(Vec::new()));
    let seen = waits.clone();
    let runner = Runner::builder()
        .on_event(move |event| seen.lock().unwrap().extend(event.wait().map(|wait| (event.name(), wait))))
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
    assert_eq!(*waits.lock().unwrap(), expected);
}
