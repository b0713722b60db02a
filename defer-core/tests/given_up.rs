//! Jobs that fail permanently, and jobs that set the time of their next attempt.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use defer_core::{
    Deferrable, Job, JobContext, JobError, JobId, JobResult, Policy, Runner, defer, defer_fn,
    queue::{Metadata, Ran, Resume},
    scope,
};
use support::{
    Events, Journal, Kind, QueuedTwice, SECOND, Thrice, Twice, assert_all_accounted_for, quiet_panics,
};

/// Fails as it is told, and notes when it is given up.
struct Doomed<const TRIES: u32, const BLOCKS: bool> {
    journal: Journal,
    how: &'static str,
    told: &'static str,
}

impl<const TRIES: u32, const BLOCKS: bool> Job for Doomed<TRIES, BLOCKS> {
    async fn run(&self, cx: &JobContext) -> JobResult {
        self.journal.note(format!("{} {}", self.how, cx.attempt()));
        match self.how {
            "fails" => Err(JobError::msg("the disk is full")),
            "is fatal" => Err(JobError::msg("no such user").fatal()),
            "panics" => panic!("on purpose"),
            "hangs" => std::future::pending().await,
            _ => Ok(()),
        }
    }

    async fn failed(&self, cx: &JobContext, error: &JobError) {
        self.journal.note(format!("given up after {}: {error}", cx.attempt()));
        match self.told {
            "panics" => panic!("on purpose"),
            "hangs" => std::future::pending().await,
            "defers" => {
                let journal = self.journal.clone();
                defer_fn(|_| async move { journal.note("deferred by the last breath") });
            }
            _ => {}
        }
    }
}

impl<const TRIES: u32, const BLOCKS: bool> Deferrable for Doomed<TRIES, BLOCKS> {
    const NAME: &'static str = "Doomed";
    const POLICY: Policy = {
        let policy = Policy::new().with_tries(TRIES).with_backoff(SECOND, SECOND).with_timeout(SECOND);
        if BLOCKS { policy.with_blocking() } else { policy }
    };
}

/// Runs one, and returns what it noted and the last event.
async fn run<const TRIES: u32, const BLOCKS: bool>(
    how: &'static str,
    told: &'static str,
) -> (Vec<String>, String) {
    quiet_panics();
    let (events, journal) = (Events::default(), Journal::default());
    let runner = events.runner().build();
    let of_job = journal.clone();
    scope(&runner, async {
        defer(Doomed::<TRIES, BLOCKS> { journal: of_job, how, told });
    })
    .await;
    runner.idle().await;
    assert_all_accounted_for(&runner);
    (journal.lines(), events.of("Doomed").pop().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_given_up_is_told_once_with_its_last_error() {
    for (how, error, last) in [
        ("fails", "the disk is full", "Failed 2"),
        ("panics", "panicked: on purpose", "Panicked 2"),
        ("hangs", "took longer than its limit of 1s", "TimedOut 2"),
    ] {
        let (lines, event) = run::<2, false>(how, "").await;
        let expected = [format!("{how} 1"), format!("{how} 2"), format!("given up after 2: {error}")];
        assert_eq!((lines, &*event), (expected.to_vec(), last));
    }
    let (lines, event) = run::<2, false>("is fatal", "").await;
    assert_eq!(lines, ["is fatal 1", "given up after 1: no such user"]);
    assert_eq!(event, "Failed 1");
    let (lines, event) = run::<2, false>("succeeds", "").await;
    assert_eq!((lines, &*event), (vec!["succeeds 1".to_owned()], "Succeeded 1"));
}

#[tokio::test]
async fn a_job_that_blocks_is_told_on_its_pool() {
    let (lines, event) = run::<1, true>("fails", "defers").await;
    assert_eq!(lines, ["fails 1", "given up after 1: the disk is full", "deferred by the last breath"]);
    assert_eq!(event, "Failed 1");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_told_may_defer_panic_and_hang_and_has_failed_all_the_same() {
    let (lines, event) = run::<1, false>("fails", "defers").await;
    assert_eq!(lines, ["fails 1", "given up after 1: the disk is full", "deferred by the last breath"]);
    assert_eq!(event, "Failed 1");
    for told in ["panics", "hangs"] {
        let (lines, event) = run::<1, false>("fails", told).await;
        assert_eq!(lines, ["fails 1", "given up after 1: the disk is full"]);
        assert_eq!(event, "Failed 1", "not as what it did when it was told");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_has_not_ended_while_it_is_told_and_its_time_is_that_of_its_attempt() {
    let runner = Runner::builder()
        .on_event(|event| {
            if let defer_core::event::JobEventKind::Failed { elapsed, .. } = event.kind() {
                assert_eq!(elapsed, Duration::ZERO);
            }
        })
        .build();
    scope(&runner, async {
        defer(Doomed::<1, false> { journal: Journal::default(), how: "fails", told: "hangs" });
    })
    .await;
    tokio::time::sleep(SECOND / 2).await;
    assert_eq!((runner.stats().running, runner.stats().failed), (1, 0));
    let report = runner.shutdown(Duration::ZERO).await;
    assert_eq!(report.unfinished.len(), 1, "as any that runs at the deadline");
}

#[tokio::test]
async fn a_job_from_a_queue_is_told_at_its_last_attempt() {
    let (runner, journal) = (Runner::default(), Journal::default());
    for attempts in [0, 1] {
        let job = Doomed::<2, false> { journal: journal.clone(), how: "fails", told: "" };
        let resume = Resume::new(JobId::unique(), attempts, Metadata::new());
        let ran = runner.resume(job, resume).unwrap().ran().await;
        assert_eq!(matches!(ran, Ran::Failed { .. }), attempts == 1, "{ran:?}");
    }
    assert_eq!(journal.lines(), ["fails 1", "fails 2", "given up after 2: the disk is full"]);
}

#[tokio::test(start_paused = true)]
async fn an_error_may_say_when_the_next_attempt_follows() {
    let events = Events::default();
    let runner = events.runner().build();
    let began = tokio::time::Instant::now();
    scope(&runner, async {
        defer(Thrice::job(|cx| async move {
            // The policy says a second.
            match cx.attempt() {
                1 => Err(JobError::msg("busy").retry_after(SECOND * 3600)),
                2 => Err(JobError::msg("busy").retry_after(Duration::ZERO)),
                _ => Err(JobError::msg("busy").retry_after(SECOND)),
            }
        }));
        defer(Thrice::job(|_| async { Err(JobError::msg("gone").retry_after(SECOND).fatal()) }));
    })
    .await;
    runner.idle().await;
    assert!((SECOND * 3600..SECOND * 3601).contains(&began.elapsed()), "{:?}", began.elapsed());
    let delays: Vec<_> = events.all().iter().filter_map(|event| event.delay).collect();
    assert_eq!(
        delays,
        [SECOND * 3600, Duration::ZERO],
        "no more than there are tries, and none if it is fatal"
    );

    let job = QueuedTwice::job(|_| async { Err(JobError::msg("busy").retry_after(Duration::MAX)) });
    let resume = Resume::new(JobId::unique(), 0, Metadata::new());
    let ran = runner.resume(job, resume).unwrap().ran().await;
    let Ran::Retry { delay, .. } = ran else { panic!("{ran:?}") };
    assert!(delay > Duration::from_secs(49 * 86_400), "as long as can be kept: {delay:?}");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_snoozes_runs_again_later_and_that_spends_no_attempt() {
    let (events, journal) = (Events::default(), Journal::default());
    let runner = events.runner().build();
    let began = tokio::time::Instant::now();
    scope(&runner, async {
        let times = AtomicUsize::new(0);
        let of_job = journal.clone();
        defer(Twice::job(move |cx| {
            of_job.note(cx.attempt());
            let result = match times.fetch_add(1, Ordering::Relaxed) {
                0..3 => Err(JobError::snooze(SECOND * 3600)),
                3 => Err(JobError::msg("on purpose")),
                4 => Err(JobError::snooze(SECOND)),
                _ => Ok(()),
            };
            async { result }
        }))
        .on_success();
        let journal = journal.clone();
        defer_fn(|_| async move { journal.note("the next") });
    })
    .await;
    runner.idle().await;
    assert_eq!(journal.lines(), ["1", "the next", "1", "1", "1", "2", "2"], "outside of its line");
    assert!((SECOND * 10_802..SECOND * 10_803).contains(&began.elapsed()), "{:?}", began.elapsed());
    let ends: Vec<_> = events.of("Twice").into_iter().filter(|event| !event.starts_with("Started")).collect();
    let expected =
        ["Deferred 0", "Snoozed 1", "Snoozed 1", "Snoozed 1", "Retrying 1", "Snoozed 2", "Succeeded 2"];
    assert_eq!(ends, expected);
    assert_eq!(runner.stats().retried, 1, "a snooze is no retry");
    assert_all_accounted_for(&runner);
}

#[tokio::test]
async fn a_job_from_a_queue_that_snoozes_goes_back_and_a_closure_cannot() {
    let (events, runner) = (Events::default(), Runner::default());
    let job = QueuedTwice::job(|_| async { Err(JobError::snooze(SECOND)) });
    let resume = Resume::new(JobId::unique(), 1, Metadata::new());
    let ran = runner.resume(job, resume).unwrap().ran().await;
    assert!(matches!(ran, Ran::Snoozed { delay, .. } if delay == SECOND), "{ran:?}");
    assert_eq!((runner.stats().queued, runner.stats().retried), (1, 0));

    let runner = events.runner().build();
    scope(&runner, async {
        defer_fn(|_| async { Err(JobError::snooze(SECOND)) });
    })
    .await;
    runner.idle().await;
    let failed = events.all().pop().unwrap();
    assert_eq!(
        (failed.what, &*failed.error),
        ("Failed", "a closure runs once, and cannot snooze: make a job type of it")
    );
}

/// At the end of a shutdown it goes to the queue, though its condition was asked in an attempt that does not count.
#[tokio::test(start_paused = true)]
async fn a_job_that_snoozes_is_stopped_by_a_shutdown_like_any_that_waits() {
    let runner = Runner::default();
    scope(&runner, async {
        defer(Twice::job(|_| async { Err(JobError::snooze(SECOND * 3600)) }));
    })
    .await;
    tokio::time::sleep(SECOND).await;
    assert_eq!((runner.stats().pending, runner.stats().running), (1, 0));
    let report = runner.shutdown(SECOND).await;
    assert_eq!(report.unfinished.len(), 1);
    assert_all_accounted_for(&runner);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_says_how_long_it_waits_takes_no_room_meanwhile() {
    for error in [JobError::snooze(SECOND * 86_400), JobError::msg("busy").retry_after(SECOND * 86_400)] {
        let runner = Runner::builder().max_pending(1).build();
        scope(&runner, async {
            defer(Twice::job(move |_| std::future::ready(Err(error.clone()))));
        })
        .await;
        tokio::time::sleep(SECOND).await;
        let began = tokio::time::Instant::now();
        scope(&runner, async { drop(defer_fn(|_| async {})) }).await;
        assert_eq!(began.elapsed(), Duration::ZERO, "another response is not held for it");
        runner.shutdown(Duration::ZERO).await;
        support::assert_room_for(&runner, 1);
    }
}
