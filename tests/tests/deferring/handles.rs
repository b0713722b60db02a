//! Handles to single jobs: cancelling through the handle and by key.

use std::sync::{Arc, Mutex};

use axum::{Router, routing::get};
use defer_axum::{Defer, Deferred, Runner, defer_fn, event::JobEventKind};
use defer_tests::{By, Log, Note, Tcp, runner};
use tokio::sync::mpsc;

use crate::{log, log_and_stats, note};

#[tokio::test]
async fn the_list_knows_how_many_wait() {
    async fn handler(defer: Defer) {
        assert!(defer.is_empty());
        assert_eq!(defer.len(), 0);
        let first = defer.push(note("first"));
        Note::defer("second");
        assert!(!defer.is_empty());
        assert_eq!(defer.len(), 2);
        first.cancel();
        assert_eq!(defer.len(), 1);
        let len = defer.len();
        defer_fn(move |cx| async move {
            cx.state::<Log>()?.add(format!("{len} of {}", defer.len()));
            Ok(())
        });
        Note::defer("last");
    }
    for by in By::BOTH {
        // While the third job runs, only the last is waiting.
        assert_eq!(log(by, handler).await, ["second", "1 of 1", "last"], "{by:?}");
    }
}

#[tokio::test]
async fn a_job_that_is_cancelled_does_not_run() {
    async fn handler() {
        Note::defer("first");
        let second = Note::defer("second");
        Note::defer("third");
        assert!(second.cancel());
        assert!(!second.cancel(), "it is cancelled already");
        let fourth = defer_fn(|cx| async move {
            cx.state::<Log>()?.add("fourth");
            Ok(())
        });
        assert!(fourth.clone().cancel());
        assert!(!fourth.cancel(), "a clone is the same handle");
    }
    for by in By::BOTH {
        let (log, stats) = log_and_stats(by, handler).await;
        assert_eq!(log, ["first", "third"], "{by:?}");
        assert_eq!((stats.succeeded, stats.cancelled, stats.deferred), (2, 2, 4), "{by:?}");
    }
}

#[tokio::test]
async fn a_cancelled_job_is_dropped_at_once() {
    async fn handler() {
        let held = Arc::new(());
        let holds = held.clone();
        let job = defer_fn(move |_| async move { drop(holds) });
        assert_eq!(Arc::strong_count(&held), 2);
        job.cancel();
        assert_eq!(Arc::strong_count(&held), 1, "what it held is free");
        Note::defer("done");
    }
    for by in By::BOTH {
        assert_eq!(log(by, handler).await, ["done"], "{by:?}");
    }
}

#[tokio::test]
async fn a_job_that_has_run_cannot_be_cancelled() {
    for by in By::BOTH {
        let log = Log::new();
        let runner = runner(&log);
        let (handles, mut given) = mpsc::unbounded_channel::<Deferred>();
        let handler = async move || {
            let own = handles.clone();
            defer_fn(move |cx| async move {
                // A running job counts as run.
                let itself = Defer::current().expect("the request's scope");
                cx.state::<Log>()?.add(format!("{} wait", itself.len()));
                drop(own);
                Ok(())
            });
            handles.send(Note::defer("job")).expect("the test waits");
        };
        let server = by.serve(Router::new().route("/", get(handler)), &runner).await;
        Tcp::connect(server.addr).await.get("/").await;
        assert_eq!(log.wait_for(2).await, ["1 wait", "job"], "{by:?}");
        runner.idle().await;
        let job = given.recv().await.expect("the handler sent it");
        assert!(!job.cancel(), "{by:?}");
        job.key("too late").on_success().when(|_| unreachable!("too late"));
        assert_eq!((runner.stats().succeeded, runner.stats().cancelled), (2, 0), "{by:?}");
    }
}

#[tokio::test]
async fn a_job_can_cancel_a_later_one() {
    async fn handler(defer: Defer) {
        defer_fn(move |cx| async move {
            let forgotten = defer.cancel_key("mail");
            cx.state::<Log>()?.add(format!("forgotten: {forgotten}"));
            Ok(())
        });
        Note::defer("mail").key("mail");
        Note::defer("last");
    }
    for by in By::BOTH {
        assert_eq!(log(by, handler).await, ["forgotten: true", "last"], "{by:?}");
    }
}

#[tokio::test]
async fn keys_of_different_requests_are_different() {
    async fn handler() {
        Note::defer("job").key("key");
    }
    for by in By::BOTH {
        let log = Log::new();
        let runner = runner(&log);
        let server = by.serve(Router::new().route("/", get(handler)), &runner).await;
        let mut client = Tcp::connect(server.addr).await;
        client.get("/").await;
        client.get("/").await;
        assert_eq!(log.wait_for(2).await, ["job", "job"], "{by:?}");
    }
}

#[tokio::test]
async fn cancel_key_cancels_by_key() {
    async fn handler(defer: Defer) {
        Note::defer("mail").key("mail");
        Note::defer("index").key("index");
        assert!(defer.cancel_key("mail"));
        assert!(!defer.cancel_key("mail"), "it is forgotten already");
        assert!(!defer.cancel_key("never there"));
        assert_eq!(defer.len(), 1);
        Note::defer("mail after all").key("mail");
    }
    for by in By::BOTH {
        assert_eq!(log(by, handler).await, ["index", "mail after all"], "{by:?}");
    }
}

#[tokio::test]
async fn handles_and_events_agree_on_ids() {
    for by in By::BOTH {
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = events.clone();
        let runner = Runner::builder().state(Log::new()).on_event(move |event| {
            let ended = match event.kind() {
                JobEventKind::Succeeded { .. } => "succeeded",
                JobEventKind::Cancelled => "cancelled",
                _ => return,
            };
            seen.lock().expect("no panic").push((event.name(), event.id(), ended));
        });
        let runner = runner.build();
        let (ids, mut given) = mpsc::unbounded_channel();
        let handler = async move || {
            let (first, second) = (Note::defer("first"), Note::defer("second"));
            first.cancel();
            assert!(first.id() < second.id());
            ids.send([first.id(), second.id()]).expect("the test waits");
        };
        let server = by.serve(Router::new().route("/", get(handler)), &runner).await;
        Tcp::connect(server.addr).await.get("/").await;
        runner.idle().await;
        let [first, second] = given.recv().await.expect("the handler sent them");
        let expected = [("Note", first, "cancelled"), ("Note", second, "succeeded")];
        assert_eq!(*events.lock().expect("no panic"), expected, "{by:?}");
    }
}
