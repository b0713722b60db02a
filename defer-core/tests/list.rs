//! The list of a request's jobs: which of them run, and in which order.
//!
//! Time is paused in each test that sleeps: a sleep lets virtual time pass.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use defer_core::{
    Defer, Deferred, Delivery, JobContext, ResponseInfo, Runner, Scope, Stats, defer, defer_fn, scope,
};
use http::StatusCode;
use support::{
    Beside, Blocking, Events, Journal, Kind, Log, OnDrop, OnSuccess, Other, Plain, QueuedOnSuccess, Thrice,
    defer_note, quiet_panics,
};
use tokio::sync::{Barrier, Notify, oneshot};

fn response(status: u16, delivery: Delivery) -> Option<ResponseInfo> {
    Some(ResponseInfo::new(delivery).with_status(StatusCode::from_u16(status).ok()))
}

#[tokio::test(start_paused = true)]
async fn one_requests_jobs_run_one_after_another_in_the_order_deferred() {
    let (runner, journal) = (Runner::default(), Journal::default());
    scope(&runner, async {
        for (job, millis) in [30, 10, 20].into_iter().enumerate() {
            let journal = journal.clone();
            defer_fn(move |_| async move {
                journal.note(format!("{job} begins"));
                tokio::time::sleep(Duration::from_millis(millis)).await;
                journal.note(format!("{job} ends"));
            });
        }
        journal.note("response");
    })
    .await;
    runner.idle().await;
    let expected = ["response", "0 begins", "0 ends", "1 begins", "1 ends", "2 begins", "2 ends"];
    assert_eq!(journal.lines(), expected);
}

#[tokio::test(start_paused = true)]
async fn jobs_of_different_types_keep_the_order_deferred() {
    let (runner, journal) = (Runner::default(), Journal::default());
    let noting = |what: &'static str| {
        let journal = journal.clone();
        move |_: JobContext| {
            let journal = journal.clone();
            async move {
                journal.note(what);
                Ok(())
            }
        }
    };
    scope(&runner, async {
        defer(Plain::job(noting("1")));
        defer(Plain::job(noting("2")));
        defer(Other::job(noting("3")));
        defer_note(&journal, "4");
        defer(Blocking::job(noting("5")));
        defer(Plain::job(noting("6")));
        defer(Other::job(noting("7")));
    })
    .await;
    runner.idle().await;
    assert_eq!(journal.lines(), ["1", "2", "3", "4", "5", "6", "7"]);
}

#[tokio::test(start_paused = true)]
async fn requests_run_concurrently() {
    let runner = Runner::default();
    let all_at_once = Arc::new(Barrier::new(100));
    for _ in 0..100 {
        let all_at_once = all_at_once.clone();
        scope(&runner, async {
            defer_fn(|_| async move {
                all_at_once.wait().await;
            })
        })
        .await;
    }
    runner.idle().await;
    assert_eq!(runner.stats().succeeded, 100);
}

#[tokio::test]
async fn nothing_runs_before_the_response() {
    let (runner, journal) = (Runner::default(), Journal::default());
    scope(&runner, async {
        defer_note(&journal, "job");
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        journal.note("response");
    })
    .await;
    runner.idle().await;
    assert_eq!(journal.lines(), ["response", "job"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_deferred_by_a_job_knows_the_request_s_response() {
    let (runner, journal) = (Runner::default(), Journal::default());
    let mut request = Scope::new(runner.clone());
    let of_job = journal.clone();
    request.enter(|| {
        defer_fn(|_| async {
            defer_fn(
                move |cx| async move { of_job.note(cx.response().expect("a response").status().unwrap()) },
            );
        })
    });
    request.release(response(201, Delivery::Sent));
    runner.idle().await;
    assert_eq!(journal.lines(), ["201 Created"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_pushed_through_a_defer_after_the_response_runs_at_once() {
    let (runner, journal) = (Runner::default(), Journal::default());
    let list = scope(&runner, async { Defer::current().expect("a scope") }).await;
    assert!(list.is_empty());
    for round in 0..3 {
        let journal = journal.clone();
        list.push_fn(move |_| async move { journal.note(round) });
        runner.idle().await;
    }
    assert_eq!(journal.lines(), ["0", "1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn the_innermost_scope_collects_and_its_runner_runs() {
    let outer = Runner::builder().state("outer").build();
    let inner = Runner::builder().state("inner").build();
    let journal = Journal::default();
    let note = |journal: &Journal| {
        let journal = journal.clone();
        defer_fn(move |cx| async move {
            journal.note(cx.state::<&str>()?);
            Ok(())
        });
    };
    scope(&outer, async {
        note(&journal);
        scope(&inner, async { note(&journal) }).await;
        inner.idle().await;
        note(&journal);
    })
    .await;
    outer.idle().await;
    assert_eq!(journal.lines(), ["inner", "outer", "outer"]);
}

#[tokio::test(start_paused = true)]
async fn a_spawned_task_defers_into_the_request_with_defer_scope() {
    let (runner, journal) = (Runner::default(), Journal::default());
    scope(&runner, async {
        let journal = journal.clone();
        let list = Defer::current().expect("a scope");
        tokio::spawn(list.scope(async move { defer_note(&journal, "from the task") })).await.unwrap();
        assert_eq!(list.len(), 1);
    })
    .await;
    runner.idle().await;
    assert_eq!(journal.lines(), ["from the task"]);
}

#[tokio::test(start_paused = true)]
async fn outside_of_any_scope_a_job_runs_at_once_and_a_warning_names_the_type_and_the_missing_layer() {
    let (log, _guard) = Log::capture();
    let (done, ran) = oneshot::channel();
    let done = std::sync::Mutex::new(Some(done));
    defer(Plain::job(move |cx| {
        let done = done.lock().unwrap().take().expect("it runs once");
        async move {
            assert!(cx.request().is_none() && cx.response().is_none());
            done.send(()).unwrap();
            Ok(())
        }
    }));
    ran.await.unwrap();
    assert_eq!(log.lines_with(&["WARN", "Plain", "DeferLayer"]), 1, "{}", log.text());
}

#[tokio::test(start_paused = true)]
async fn a_job_for_a_queue_runs_without_one_and_one_warning_for_its_type_says_that_it_is_not_durable() {
    let (log, _guard) = Log::capture();
    let runner = Runner::default();
    for _ in 0..3 {
        scope(&runner, async { drop(defer(QueuedOnSuccess::job(|_| async { Ok(()) }))) }).await;
    }
    runner.idle().await;
    assert_eq!(runner.stats().succeeded, 3);
    assert_eq!(log.lines_with(&["WARN", "QueuedOnSuccess", "not durable"]), 1, "{}", log.text());
}

#[tokio::test(start_paused = true)]
async fn a_job_runs_whatever_becomes_of_the_response() {
    let deliveries = [
        Delivery::Sent,
        Delivery::Finished,
        Delivery::Disconnected,
        Delivery::Failed,
        Delivery::Cancelled,
        Delivery::Panicked,
    ];
    for delivery in deliveries {
        let runner = Runner::default();
        let mut request = Scope::new(runner.clone());
        request.enter(|| defer_fn(|_| async {}));
        request.release(response(500, delivery));
        runner.idle().await;
        assert_eq!(runner.stats().succeeded, 1, "{delivery:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_scope_that_is_dropped_half_way_or_panics_runs_its_jobs_all_the_same() {
    quiet_panics();
    let (runner, journal) = (Runner::default(), Journal::default());
    let dropped = scope(&runner, async {
        defer_note(&journal, "of the dropped");
        std::future::pending::<()>().await;
    });
    tokio::time::timeout(Duration::from_millis(1), dropped).await.unwrap_err();
    runner.idle().await;
    let (of_task, in_task) = (journal.clone(), runner.clone());
    let panicked = tokio::spawn(async move {
        scope(&in_task, async {
            defer_note(&of_task, "of the panicked");
            panic!("on purpose");
        })
        .await;
    });
    panicked.await.unwrap_err();
    runner.idle().await;
    assert_eq!(journal.lines(), ["of the dropped", "of the panicked"]);
}

/// Which of a success-only job, one made so, one made always again, and ones with predicates run.
async fn what_runs(info: Option<ResponseInfo>) -> (Vec<String>, u64) {
    let (runner, journal) = (Runner::default(), Journal::default());
    let job = |what: &'static str| -> Deferred {
        let journal = journal.clone();
        let work = move |_| {
            let journal = journal.clone();
            async move {
                journal.note(what);
                Ok(())
            }
        };
        if what.starts_with("policy") { defer(OnSuccess::job(work)) } else { defer(Plain::job(work)) }
    };
    let mut request = Scope::new(runner.clone());
    request.enter(|| {
        job("plain");
        job("policy");
        job("policy, always").always();
        job("on success").on_success();
        job("when 404").when(|response| response.status() == Some(StatusCode::NOT_FOUND));
        job("when cancelled").on_success().when(|response| response.delivery() == Delivery::Cancelled);
    });
    request.release(info);
    runner.idle().await;
    (journal.lines(), runner.stats().skipped)
}

#[tokio::test(start_paused = true)]
async fn less_is_opt_in_and_what_is_skipped_is_counted() {
    let sent = what_runs(response(399, Delivery::Sent)).await;
    assert_eq!(sent.0, ["plain", "policy", "policy, always", "on success"]);
    assert_eq!(sent.1, 2);
    let failed = what_runs(response(404, Delivery::Sent)).await;
    assert_eq!((failed.0.join("; "), failed.1), ("plain; policy, always; when 404".into(), 3));
    let gone = what_runs(response(200, Delivery::Disconnected)).await;
    assert_eq!((gone.0.join("; "), gone.1), ("plain; policy; policy, always; on success".into(), 2));
    let panicked = what_runs(response(200, Delivery::Panicked)).await;
    assert_eq!((panicked.0.join("; "), panicked.1), ("plain; policy, always".into(), 4));
    let cancelled = what_runs(Some(ResponseInfo::new(Delivery::Cancelled))).await;
    assert_eq!((cancelled.0.join("; "), cancelled.1), ("plain; policy, always; when cancelled".into(), 3));
    let nothing_to_ask_about = what_runs(None).await;
    assert_eq!((nothing_to_ask_about.0.len(), nothing_to_ask_about.1), (6, 0));
}

#[tokio::test(start_paused = true)]
async fn a_predicate_that_panics_fails_its_job_and_no_other() {
    quiet_panics();
    let events = Events::default();
    let runner = events.runner().build();
    let mut request = Scope::new(runner.clone());
    request.enter(|| {
        defer_fn(|_| async {});
        defer(Plain::job(|_| async { Ok(()) })).when(|_| panic!("a predicate, on purpose"));
        defer(Other::job(|_| async { Ok(()) }));
    });
    request.release(response(200, Delivery::Sent));
    runner.idle().await;
    assert_eq!((runner.stats().succeeded, runner.stats().failed), (2, 1));
    assert_eq!(events.of("Plain"), ["Deferred 0", "Panicked 0"]);
    assert_eq!(events.errors_of("Plain"), ["panicked: a predicate, on purpose"]);
    assert_eq!(events.of("Other"), ["Deferred 0", "Started 1", "Succeeded 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_predicate_is_asked_once_however_often_the_job_is_tried() {
    let runner = Runner::default();
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let mut request = Scope::new(runner.clone());
    request.enter(|| {
        defer(Thrice::job(|cx| async move {
            if cx.attempt() < 3 { Err(std::io::Error::other("not yet").into()) } else { Ok(()) }
        }))
        .when(move |_| counter.fetch_add(1, Ordering::Relaxed) == 0);
    });
    request.release(response(200, Delivery::Sent));
    runner.idle().await;
    assert_eq!((runner.stats().succeeded, asked.load(Ordering::Relaxed)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_a_predicate_holds_may_use_the_list_while_it_is_dropped() {
    let runner = Runner::default();
    scope(&runner, async {
        let list = Defer::current().expect("a scope");
        let on_drop = |list: &Defer| {
            let list = list.clone();
            OnDrop(move || assert!(list.len() <= 2))
        };
        let (replaced, made_always, cancelled, unasked) =
            (on_drop(&list), on_drop(&list), on_drop(&list), on_drop(&list));
        list.push_fn(|_| async {}).when(move |_| [&replaced].is_empty()).when(|_| true);
        list.push_fn(|_| async {}).when(move |_| [&made_always].is_empty()).always();
        assert!(list.push_fn(|_| async {}).when(move |_| [&cancelled].is_empty()).cancel());
        list.push_fn(|_| async {}).when(move |_| [&unasked].is_empty()).key("key");
        list.cancel_key("key");
    })
    .await;
    runner.idle().await;
    assert_eq!((runner.stats().succeeded, runner.stats().cancelled), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn of_jobs_with_the_same_key_the_last_one_stays_in_its_own_place() {
    let (runner, journal) = (Runner::default(), Journal::default());
    scope(&runner, async {
        let job = |what: &'static str| {
            let journal = journal.clone();
            defer_fn(move |_| async move { journal.note(what) })
        };
        job("cart 1").key("cart");
        job("mail");
        job("cart 2").key("cart");
        job("user").key("user");
        job("cart 3").key(String::from("cart"));
        job("gone").key("gone");
        let list = Defer::current().expect("a scope");
        assert!(list.cancel_key("gone"));
        assert!(!list.cancel_key("gone"));
        assert_eq!(list.len(), 3);
    })
    .await;
    runner.idle().await;
    assert_eq!(journal.lines(), ["mail", "user", "cart 3"]);
    let Stats { succeeded, cancelled, deferred, .. } = runner.stats();
    assert_eq!((succeeded, cancelled, deferred), (3, 3, 6));
}

#[tokio::test(start_paused = true)]
async fn cancel_says_whether_the_job_will_not_run_because_of_it() {
    let runner = Runner::default();
    let started = Arc::new(Notify::new());
    let (running, finished) = scope(&runner, async {
        let cancelled = defer_fn(|_| async {});
        assert!(cancelled.cancel());
        assert!(!cancelled.cancel());
        let starts = started.clone();
        let running = defer_fn(move |_| async move {
            starts.notify_one();
            tokio::time::sleep(Duration::from_secs(1)).await;
        });
        (running, cancelled)
    })
    .await;
    started.notified().await;
    assert!(!running.cancel() && !finished.cancel());
    runner.idle().await;
    assert!(!running.cancel());
    assert_eq!((runner.stats().succeeded, runner.stats().cancelled), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_handle_cancels_a_job_that_has_left_its_line_until_it_starts() {
    let runner = Runner::builder().max_running(1).build();
    let (started, tried) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (delayed, again) = scope(&runner, async {
        let delayed = defer_fn(|_| async {}).delay(Duration::from_secs(60));
        let (starts, tries) = (started.clone(), tried.clone());
        let again = defer(Thrice::job(move |_| {
            tries.notify_one();
            async { Err("busy".into()) }
        }));
        defer_fn(move |_| async move {
            starts.notify_one();
            tokio::time::sleep(Duration::from_secs(1)).await;
        });
        (delayed, again)
    })
    .await;
    tried.notified().await;
    assert!(!again.cancel(), "it has started once");
    started.notified().await;
    let beside = scope(&runner, async { defer(Beside::job(|_| async { Ok(()) })) }).await;
    assert!(delayed.cancel() && beside.cancel());
    assert!(!delayed.cancel() && !beside.cancel());
    runner.idle().await;
    let stats = runner.stats();
    assert_eq!((stats.succeeded, stats.failed, stats.cancelled), (1, 1, 2));
}

/// A job that starts just then may not be both cancelled and run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_was_cancelled_in_time_does_not_run() {
    let runner = Runner::default();
    let list = scope(&runner, async { Defer::current().expect("a scope") }).await;
    for _ in 0..20_000 {
        let ran = Arc::new(AtomicBool::new(false));
        let runs = ran.clone();
        let cancelled = list.push_fn(move |_| async move { runs.store(true, Ordering::SeqCst) }).cancel();
        runner.idle().await;
        assert_ne!(cancelled, ran.load(Ordering::SeqCst), "cancelled: {cancelled}");
    }
}

#[tokio::test(start_paused = true)]
async fn jobs_that_keep_deferring_jobs_do_not_make_memory_grow() {
    fn again(left: u32) {
        defer_fn(move |_| async move {
            if left > 0 {
                again(left - 1);
            }
        });
    }
    let runner = Runner::default();
    scope(&runner, async { again(100_000) }).await;
    runner.idle().await;
    assert_eq!(runner.stats().succeeded, 100_001);
}

#[tokio::test]
async fn jobs_that_never_wait_let_other_tasks_have_the_thread() {
    let runner = Runner::default();
    scope(&runner, async { (0..10_000).for_each(|_| drop(defer_fn(|_| async {}))) }).await;
    let mut turns = 0;
    while runner.stats().succeeded < 10_000 {
        tokio::task::yield_now().await;
        turns += 1;
    }
    assert!(turns > 10, "{turns} turns");
}

#[tokio::test(start_paused = true)]
async fn a_scope_that_is_dropped_collects_what_its_future_defers_then() {
    let (runner, journal) = (Runner::default(), Journal::default());
    let noted = journal.clone();
    let work = scope(&runner, async {
        let _guard = OnDrop(move || defer_note(&noted, "cleaned up"));
        std::future::pending::<()>().await;
    });
    assert!(tokio::time::timeout(Duration::from_secs(1), work).await.is_err());
    runner.idle().await;
    assert_eq!((runner.stats().deferred, journal.lines()), (1, vec!["cleaned up".to_owned()]));
}
