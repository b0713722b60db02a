//! A job's attempts: an error, a panic or a time-out touches no other job.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::{
    fmt,
    future::Future,
    panic::panic_any,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use defer_core::{
    BoxError, Deferrable, Job, JobContext, JobError, JobResult, Policy, Runner, defer, defer_fn, scope,
};
use support::{
    Does, Events, Journal, Kind, Limited, LimitedThrice, Log, OnDrop, Other, Plain, Release, SECOND, Thrice,
    Twice, assert_all_accounted_for, assert_room_for, defer_note, quiet_panics, without_place,
};
use tokio::{sync::oneshot, time::Instant};

fn failing<K: Kind>() -> Does<K> {
    K::job(|_| async { Err(JobError::msg("out of order")) })
}

/// Runs `job` between two others, which are as if it was not there, and returns its events and errors.
async fn between_others<K: Kind>(job: Does<K>) -> (Vec<String>, Vec<String>) {
    quiet_panics();
    let (events, journal) = (Events::default(), Journal::default());
    let runner = events.runner().max_pending(4).build();
    scope(&runner, async {
        defer_note(&journal, "before");
        defer(job);
        defer_note(&journal, "after");
    })
    .await;
    runner.idle().await;
    assert_eq!(journal.lines(), ["before", "after"]);
    assert_all_accounted_for(&runner);
    let errors = events.errors_of(K::NAME).iter().map(|error| without_place(error)).collect::<Vec<_>>();
    let of_job = (events.of(K::NAME), errors);
    assert_room_for(&runner, 4);
    of_job
}

#[tokio::test(start_paused = true)]
async fn a_jobs_error_touches_no_other_job() {
    let (events, errors) = between_others(failing::<Plain>()).await;
    assert_eq!(events, ["Deferred 0", "Started 1", "Failed 1"]);
    assert_eq!(errors, ["out of order"]);
}

#[tokio::test(start_paused = true)]
async fn a_jobs_panic_touches_no_other_job_and_its_message_is_kept() {
    let (events, errors) = between_others(Plain::job(|_| async { panic!("on purpose") })).await;
    assert_eq!(events, ["Deferred 0", "Started 1", "Panicked 1"]);
    assert_eq!(errors, ["panicked: on purpose"]);
    let number = 3;
    let (_, errors) = between_others(Plain::job(move |_| async move { panic!("on purpose {number}") })).await;
    assert_eq!(errors, ["panicked: on purpose 3"]);
    let (_, errors) = between_others(Plain::job(|_| async { panic_any(3) })).await;
    assert_eq!(errors, ["panicked with a value that is not a string"]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_before_the_first_await_or_without_a_future_touches_no_other_job() {
    let eager = Plain::job(|_| -> std::future::Ready<JobResult> { panic!("on purpose") });
    let (events, _) = between_others(eager).await;
    assert_eq!(events, ["Deferred 0", "Started 1", "Panicked 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_jobs_timeout_touches_no_other_job_and_stops_it() {
    let stopped = Arc::new(AtomicBool::new(false));
    let stops = stopped.clone();
    let hanging = Limited::job(move |_| {
        let stops = stops.clone();
        async move {
            let _on_drop = OnDrop(move || stops.store(true, Ordering::Relaxed));
            std::future::pending().await
        }
    });
    let since = Instant::now();
    let (events, errors) = between_others(hanging).await;
    assert_eq!(events, ["Deferred 0", "Started 1", "TimedOut 1"]);
    assert_eq!(errors, ["took longer than its limit of 1s"]);
    assert!(stopped.load(Ordering::Relaxed));
    let took = since.elapsed();
    assert!(took >= SECOND && took < SECOND * 2, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_job_within_its_limit_is_left_alone() {
    let slow = Limited::job(|_| async {
        tokio::time::sleep(SECOND - Duration::from_millis(2)).await;
        Ok(())
    });
    let (events, _) = between_others(slow).await;
    assert_eq!(events, ["Deferred 0", "Started 1", "Succeeded 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_outside_the_line_and_later_jobs_go_on() {
    let (runner, journal) = (Runner::default(), Journal::default());
    let of_job = journal.clone();
    scope(&runner, async {
        defer(Twice::job(move |cx| {
            let journal = of_job.clone();
            async move {
                journal.note(format!("try {}", cx.attempt()));
                if cx.attempt() == 1 { Err(JobError::msg("not yet")) } else { Ok(()) }
            }
        }));
        defer_note(&journal, "second");
        defer_note(&journal, "third");
    })
    .await;
    runner.idle().await;
    assert_eq!(journal.lines(), ["try 1", "second", "third", "try 2"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_is_tried_as_often_as_its_policy_says() {
    let events = Events::default();
    let runner = events.runner().build();
    scope(&runner, async { defer(failing::<Thrice>()) }).await;
    runner.idle().await;
    let expected =
        ["Deferred 0", "Started 1", "Retrying 1", "Started 2", "Retrying 2", "Started 3", "Failed 3"];
    assert_eq!(events.of("Thrice"), expected);
    assert_eq!((runner.stats().retried, runner.stats().failed), (2, 1));
    let ids: std::collections::BTreeSet<_> = events.all().iter().map(|event| event.id).collect();
    assert_eq!(ids.len(), 1, "one job has one id");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_succeeds_at_last_counts_as_succeeded() {
    let (events, _) = between_others(Thrice::job(|cx| async move {
        if cx.attempt() < 3 { Err(JobError::msg("not yet")) } else { Ok(()) }
    }))
    .await;
    assert_eq!(events.last().unwrap(), "Succeeded 3");
}

#[tokio::test(start_paused = true)]
async fn the_wait_between_two_tries_is_the_one_the_event_tells() {
    let events = Events::default();
    let runner = events.runner().build();
    let starts = Arc::new(Mutex::new(Vec::new()));
    let noted = starts.clone();
    scope(&runner, async {
        defer(Thrice::job(move |_| {
            noted.lock().unwrap().push(Instant::now());
            async { Err(JobError::msg("never")) }
        }));
    })
    .await;
    runner.idle().await;
    let delays: Vec<_> = events.all().iter().filter_map(|event| event.delay).collect();
    assert_eq!(delays, [SECOND, SECOND]);
    for pair in starts.lock().unwrap().windows(2) {
        let waited = pair[1] - pair[0];
        assert!(waited >= SECOND && waited < SECOND + Duration::from_millis(10), "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fatal_error_is_not_tried_again() {
    let (events, _) =
        between_others(Thrice::job(|_| async { Err(JobError::msg("no such address").fatal()) })).await;
    assert_eq!(events, ["Deferred 0", "Started 1", "Failed 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failed_attempt_and_is_tried_again() {
    let (events, errors) = between_others(Thrice::job(|cx| async move {
        assert!(cx.attempt() > 2, "on purpose");
        Ok(())
    }))
    .await;
    let expected =
        ["Deferred 0", "Started 1", "Retrying 1", "Started 2", "Retrying 2", "Started 3", "Succeeded 3"];
    assert_eq!(events, expected);
    assert_eq!(errors, ["panicked: on purpose", "panicked: on purpose"]);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_is_a_failed_attempt_and_is_tried_again_each_with_its_own_limit() {
    let since = Instant::now();
    let (events, _) = between_others(LimitedThrice::job(|_| std::future::pending())).await;
    let expected =
        ["Deferred 0", "Started 1", "Retrying 1", "Started 2", "Retrying 2", "Started 3", "TimedOut 3"];
    assert_eq!(events, expected);
    let took = since.elapsed();
    assert!(took >= SECOND * 5 && took < SECOND * 6, "three limits and two waits: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_closure_runs_once_whatever_it_returns() {
    let (runner, ran) = (Runner::default(), Arc::new(AtomicUsize::new(0)));
    let runs = ran.clone();
    scope(&runner, async {
        defer_fn(move |_| async move {
            runs.fetch_add(1, Ordering::Relaxed);
            JobResult::Err(JobError::msg("never again"))
        })
    })
    .await;
    runner.idle().await;
    assert_eq!((ran.load(Ordering::Relaxed), runner.stats().failed), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn state_that_is_missing_is_an_error_that_names_its_type_and_what_the_runner_has() {
    let (_, errors) = between_others(Plain::job(|cx| async move {
        cx.state::<Journal>()?;
        Ok(())
    }))
    .await;
    assert!(errors[0].contains("no state of type `attempts::support::Journal`"), "{errors:?}");
    assert!(errors[0].ends_with("this one was given none"), "{errors:?}");

    let runner = Runner::builder().state(7_u8).state(Arc::new(Journal::default())).build();
    let (tell, told) = oneshot::channel();
    scope(&runner, async {
        defer_fn(|cx| async move { tell.send(cx.state::<Journal>().err()).unwrap() });
    })
    .await;
    let error = told.await.unwrap().expect("the runner has an `Arc` of it");
    let has = ["alloc::sync::Arc<attempts::support::Journal>", "u8"];
    assert_eq!((error.type_name(), error.given()), ("attempts::support::Journal", &has[..]));
    let text = error.to_string();
    assert!(text.ends_with(&format!("; this one has `{}`, `{}`", has[0], has[1])), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_a_jobs_future_is_dropped_touches_no_other_job() {
    let bomb = || OnDrop(|| panic!("on purpose"));
    let (events, _) = between_others(Limited::job(move |_| {
        let bomb = bomb();
        async move {
            let _bomb = bomb;
            std::future::pending().await
        }
    }))
    .await;
    assert_eq!(events, ["Deferred 0", "Started 1", "TimedOut 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_drop_panics_touches_no_other_job() {
    let bomb = OnDrop(|| panic!("on purpose"));
    let bomb = Mutex::new(bomb);
    let (events, _) = between_others(Plain::job(move |_| {
        let _kept = &bomb;
        async { Ok(()) }
    }))
    .await;
    assert_eq!(events, ["Deferred 0", "Started 1", "Succeeded 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_with_something_that_panics_when_dropped_touches_no_other_job() {
    let bomb = || OnDrop(|| panic!("on purpose"));
    let (events, _) = between_others(Plain::job(move |_| async move { panic_any(bomb()) })).await;
    assert_eq!(events, ["Deferred 0", "Started 1", "Panicked 1"]);
    // Both at once: the attempt times out, and what its future holds panics with such a thing.
    let (events, _) = between_others(Limited::job(move |_| {
        let bombs = OnDrop(move || panic_any(bomb()));
        async move {
            let _bombs = bombs;
            std::future::pending().await
        }
    }))
    .await;
    assert_eq!(events, ["Deferred 0", "Started 1", "TimedOut 1"]);
}

#[tokio::test(start_paused = true)]
async fn an_error_that_panics_when_it_is_written_touches_no_other_job() {
    #[derive(Debug)]
    struct Unspeakable;
    impl fmt::Display for Unspeakable {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("on purpose")
        }
    }
    impl std::error::Error for Unspeakable {}
    quiet_panics();
    let (_log, _guard) = support::Log::capture();
    let runner = Runner::default();
    scope(&runner, async {
        defer(Plain::job(|_| async { Err(Unspeakable.into()) }));
        defer(Twice::job(|_| async { Err(Unspeakable.into()) }));
        defer(Other::job(|_| async { Ok(()) }));
    })
    .await;
    runner.idle().await;
    assert_eq!((runner.stats().failed, runner.stats().succeeded), (2, 1), "{:?}", runner.stats());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_never_yields_keeps_no_other_request_from_its_end() {
    let runner = Runner::default();
    let (release, behind_it) = (Release::new(), Arc::new(AtomicBool::new(false)));
    let (started, starts) = oneshot::channel();
    let (spin, ran) = (release.spin(), behind_it.clone());
    scope(&runner, async {
        defer_fn(move |_| async move {
            started.send(()).unwrap();
            spin();
        });
        defer_fn(move |_| async move { ran.store(true, Ordering::Relaxed) });
    })
    .await;
    starts.await.unwrap();
    for _ in 0..100 {
        let (done, ended) = oneshot::channel();
        scope(&runner, async { defer_fn(|_| async { done.send(()).unwrap() }) }).await;
        ended.await.unwrap();
    }
    assert!(!behind_it.load(Ordering::Relaxed));
    drop(release);
    runner.idle().await;
    assert!(behind_it.load(Ordering::Relaxed));
    assert_all_accounted_for(&runner);
}

/// Its `run` is not an `async fn`: it does something before it returns its future.
struct Eager {
    panics: bool,
}

impl Job for Eager {
    #[allow(clippy::manual_async_fn, reason = "what stands before the future is what this is about")]
    fn run(&self, _: &JobContext) -> impl Future<Output = JobResult> + Send {
        tracing::info!("eager");
        assert!(!self.panics, "on purpose");
        async { Ok(()) }
    }
}

impl Deferrable for Eager {
    const NAME: &'static str = "Eager";
    const POLICY: Policy = Policy::new().with_tries(2).with_backoff(SECOND, SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_panic_before_a_job_returns_its_future_is_a_failed_attempt_and_touches_no_other_job() {
    quiet_panics();
    let (events, journal) = (Events::default(), Journal::default());
    let runner = events.runner().build();
    scope(&runner, async {
        defer_note(&journal, "before");
        defer(Eager { panics: true });
        defer_note(&journal, "after");
    })
    .await;
    runner.idle().await;
    assert_all_accounted_for(&runner);
    assert_eq!(journal.lines(), ["before", "after"]);
    let told = events.of("Eager");
    assert_eq!(told, ["Deferred 0", "Started 1", "Retrying 1", "Started 2", "Panicked 2"]);
}

#[tokio::test]
async fn what_a_job_logs_before_it_returns_its_future_is_in_its_span() {
    let (log, _guard) = Log::capture();
    let runner = Runner::default();
    scope(&runner, async { drop(defer(Eager { panics: false })) }).await;
    runner.idle().await;
    assert_eq!(log.lines_with(&["eager", "run{job=\"Eager\""]), 1, "{}", log.text());
}

/// An error whose `Drop` panics, wherever its last clone goes.
#[derive(Debug, thiserror::Error)]
#[error("out of order")]
struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panic!("on purpose");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_whose_drop_panics_touches_no_other_job() {
    let (events, errors) = between_others(Plain::job(|_| async { Err(PanicsOnDrop.into()) })).await;
    assert_eq!(events, ["Deferred 0", "Started 1", "Failed 1"]);
    assert_eq!(errors, ["out of order"]);
    let (events, _) = between_others(Twice::job(|_| async { Err(PanicsOnDrop.into()) })).await;
    assert_eq!(events, ["Deferred 0", "Started 1", "Retrying 1", "Started 2", "Failed 2"]);
}

/// Runs a job of this type between two others on a runtime without a timer, and returns its events and errors.
fn without_a_timer<K: Kind>(job: Does<K>) -> (Vec<String>, Vec<String>) {
    quiet_panics();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(between_others(job))
}

#[test]
fn on_a_runtime_without_a_timer_a_job_that_needs_one_fails_and_says_so() {
    let (events, errors) = without_a_timer(Limited::job(|_| async { Ok(()) }));
    assert_eq!(events, ["Deferred 0", "Started 1", "Failed 1"]);
    assert!(errors[0].contains("enable_time"), "{errors:?}");

    let (events, errors) = without_a_timer(failing::<Twice>());
    assert_eq!(events, ["Deferred 0", "Started 1", "Retrying 1", "Failed 1"]);
    assert!(errors[1].contains("enable_time"), "{errors:?}");
}

#[tokio::test(start_paused = true)]
async fn any_error_converts_with_a_question_mark() {
    fn of_std() -> JobResult {
        let _: u8 = "x".parse()?;
        Ok(())
    }
    fn boxed() -> JobResult {
        let fails: Result<(), BoxError> = Err("a boxed error".into());
        fails?;
        Ok(())
    }
    fn of_anyhow() -> JobResult {
        let fails: anyhow::Result<()> = Err(anyhow::anyhow!("no such host"));
        anyhow::Context::context(fails, "cannot send the mail")?;
        Ok(())
    }
    type Fails = fn() -> JobResult;
    let cases: [(Fails, &str); 6] = [
        (of_std, "invalid digit found in string"),
        (boxed, "a boxed error"),
        (of_anyhow, "cannot send the mail: no such host"),
        (|| Err("a str")?, "a str"),
        (|| Err(String::from("a string"))?, "a string"),
        (|| Err(JobError::msg("a job's own"))?, "a job's own"),
    ];
    for (fails, text) in cases {
        let (_, errors) = between_others(Plain::job(move |_| async move { fails() })).await;
        assert_eq!(errors, [text]);
    }
    let error = JobError::from("x".parse::<u8>().unwrap_err());
    assert!(error.as_error().downcast_ref::<std::num::ParseIntError>().is_some());
}
