//! Middleware around each attempt.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use defer_core::{
    BoxFuture, JobContext, JobError, JobId, JobResult, Runner, defer, defer_fn,
    middleware::Next,
    queue::{Metadata, Ran, Resume},
    scope,
};
use support::{
    Blocking, Events, Journal, Kind, Limited, Plain, Queued, SECOND, Thrice, assert_all_accounted_for,
    quiet_panics,
};

tokio::task_local! {
    static TENANT: &'static str;
}

/// Notes what it sees, before and after.
fn notes(
    who: &'static str,
    journal: &Journal,
) -> impl for<'a> Fn(&'a JobContext, Next<'a>) -> BoxFuture<'a, JobResult> + use<> {
    let journal = journal.clone();
    move |cx, next| {
        let journal = journal.clone();
        Box::pin(async move {
            journal.note(format!("{who}: {} {}", cx.name(), cx.attempt()));
            let result = next.await;
            let outcome = match &result {
                Ok(()) => "ok".to_owned(),
                Err(error) => format!("{error}{}", if error.is_panic() { "!" } else { "" }),
            };
            journal.note(format!("{who}: {outcome}"));
            result
        })
    }
}

#[tokio::test(start_paused = true)]
async fn it_sees_every_attempt_and_its_outcome_and_the_first_is_outermost() {
    let (events, journal) = (Events::default(), Journal::default());
    let runner = events.runner();
    let runner = runner.around(notes("outer", &journal)).around(notes("inner", &journal)).build();
    scope(&runner, async {
        defer(Thrice::job(|cx| async move {
            if cx.attempt() == 1 { Err(JobError::msg("the disk is full")) } else { Ok(()) }
        }));
    })
    .await;
    runner.idle().await;
    assert_eq!(
        journal.lines(),
        [
            "outer: Thrice 1",
            "inner: Thrice 1",
            "inner: the disk is full",
            "outer: the disk is full",
            "outer: Thrice 2",
            "inner: Thrice 2",
            "inner: ok",
            "outer: ok",
        ]
    );
    assert_eq!(events.of("Thrice")[1..], ["Started 1", "Retrying 1", "Started 2", "Succeeded 2"]);
    assert_all_accounted_for(&runner);
}

#[tokio::test]
async fn a_job_is_in_it_also_a_closure_and_one_that_blocks() {
    let runner = Runner::builder().around(|_, next| Box::pin(TENANT.scope("acme", next))).build();
    let journal = Journal::default();
    scope(&runner, async {
        let (a, b, c) = (journal.clone(), journal.clone(), journal.clone());
        defer(Plain::job(move |_| {
            // Before its future, too.
            a.note(TENANT.get());
            async { Ok(()) }
        }));
        defer(Blocking::job(move |_| {
            b.note(TENANT.get());
            async { Ok(()) }
        }));
        defer_fn(move |_| async move { c.note(TENANT.get()) });
    })
    .await;
    runner.idle().await;
    assert_eq!(journal.lines(), ["acme"; 3]);
}

#[tokio::test]
async fn it_may_fail_an_attempt_make_good_of_one_and_leave_the_job_out() {
    let (events, journal) = (Events::default(), Journal::default());
    let runner = events.runner().around(|cx, next| match cx.name() {
        "Plain" => Box::pin(async { next.await.and(Err(JobError::msg("the audit is missing"))) }),
        "Limited" => Box::pin(async { next.await.or(Ok(())) }),
        _ => Box::pin(async { Err(JobError::msg("not here").fatal()) }),
    });
    let runner = runner.build();
    scope(&runner, async {
        defer(Plain::job(|_| async { Ok(()) }));
        defer(Limited::job(|_| async { Err(JobError::msg("ignored")) }));
        let journal = journal.clone();
        defer(Thrice::job(move |_| {
            journal.note("it ran");
            async { Ok(()) }
        }));
    })
    .await;
    runner.idle().await;
    assert_eq!(events.of("Plain").last().unwrap(), "Failed 1");
    assert_eq!(events.of("Limited").last().unwrap(), "Succeeded 1");
    assert_eq!(events.of("Thrice").last().unwrap(), "Failed 1", "fatal is fatal");
    assert_eq!(journal.lines(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_seen_and_passed_on_and_a_timeout_holds_for_all_of_it() {
    quiet_panics();
    let (events, journal) = (Events::default(), Journal::default());
    let runner = events.runner().around(notes("around", &journal)).build();
    scope(&runner, async {
        defer(Plain::job(|_| async { panic!("on purpose") }));
        defer(Limited::job(|_| std::future::pending()));
    })
    .await;
    runner.idle().await;
    let lines: Vec<_> = journal.lines().iter().map(|line| support::without_place(line)).collect();
    assert_eq!(lines, ["around: Plain 1", "around: panicked: on purpose!", "around: Limited 1"]);
    assert_eq!(events.of("Plain").last().unwrap(), "Panicked 1");
    assert_eq!(events.of("Limited").last().unwrap(), "TimedOut 1");

    let events = Events::default();
    let runner = events.runner().around(|cx, next| {
        assert!(cx.name() != "Plain", "before its future");
        Box::pin(async move {
            next.await?;
            tokio::time::sleep(SECOND * 60).await;
            panic!("after the job");
        })
    });
    let runner = runner.build();
    scope(&runner, async {
        defer(Plain::job(|_| async { Ok(()) }));
        defer(Limited::job(|_| async { Ok(()) }));
        defer_fn(|_| async {});
    })
    .await;
    runner.idle().await;
    assert_eq!(events.of("Plain").last().unwrap(), "Panicked 1");
    assert_eq!(events.of("Limited").last().unwrap(), "TimedOut 1", "what is around it takes of its time");
    assert_eq!(runner.stats().failed, 3);
    assert_all_accounted_for(&runner);
}

#[tokio::test]
async fn it_is_around_the_jobs_of_a_queue_too() {
    let journal = Journal::default();
    let runner = Runner::builder().around(notes("around", &journal)).build();
    let resume = Resume::new(JobId::unique(), 4, Metadata::new());
    let mut resumed = runner.resume(Queued::job(|_| async { Ok(()) }), resume).unwrap();
    assert!(matches!(resumed.ran().await, Ran::Succeeded));
    assert_eq!(journal.lines(), ["around: Queued 5", "around: ok"]);
}

#[tokio::test(start_paused = true)]
async fn it_may_say_of_a_panic_what_an_error_says_and_a_closure_runs_once_all_the_same() {
    quiet_panics();
    let (events, journal) = (Events::default(), Journal::default());
    let runner = events.runner().around(|cx, next| match (cx.name(), cx.attempt()) {
        ("Thrice", 1) => Box::pin(async { next.await.map_err(|error| error.retry_after(SECOND * 77)) }),
        ("Thrice", _) => Box::pin(async { next.await.map_err(JobError::fatal) }),
        _ => Box::pin(async {
            next.await.map_err(|error| if error.is_fatal() { error } else { JobError::snooze(SECOND) })
        }),
    });
    let runner = runner.build();
    let of_job = journal.clone();
    scope(&runner, async {
        defer(Thrice::job(|_| async { panic!("on purpose") }));
        defer_fn(|_| async move {
            of_job.note("once");
            Err(JobError::msg("on purpose"))
        });
    })
    .await;
    runner.idle().await;
    assert_eq!(events.of("Thrice")[2..], ["Retrying 1", "Started 2", "Panicked 2"]);
    let delays: Vec<_> = events.all().into_iter().filter_map(|event| event.delay).collect();
    assert!(delays.contains(&(SECOND * 77)), "{delays:?}");
    assert_eq!(journal.lines(), ["once"]);
    assert_eq!(runner.stats().failed, 2);
    assert_all_accounted_for(&runner);
}
