//! When a request's jobs run, and in which order.

use std::sync::Arc;

use axum::{Router, routing::get};
use defer_axum::{Defer, Deferrable, Job, JobContext, JobResult, defer, defer_fn};
use defer_tests::{By, Log, Note, Tcp, runner};
use tokio::sync::Notify;

use crate::other;

/// A job of another type than `Note`, which takes longer.
#[derive(Deferrable)]
struct Mail {
    to: String,
}

impl Job for Mail {
    async fn run(&self, cx: &JobContext) -> JobResult {
        tokio::task::yield_now().await;
        cx.state::<Log>()?.add(format!("mail to {}", self.to));
        Ok(())
    }
}

async fn function(cx: JobContext) -> JobResult {
    cx.state::<Log>()?.add("function");
    Ok(())
}

#[tokio::test]
async fn jobs_of_one_type_run_in_the_order_deferred() {
    for by in By::BOTH {
        let log = Log::new();
        let handler = async || {
            for n in 0..100 {
                Note::defer(n.to_string());
            }
        };
        let server = by.serve(Router::new().route("/", get(handler)), &runner(&log)).await;
        Tcp::connect(server.addr).await.get("/").await;
        let expected: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        assert_eq!(log.wait_for(100).await, expected, "{by:?}");
    }
}

#[tokio::test]
async fn jobs_of_several_types_run_in_the_order_deferred() {
    async fn handler() {
        Note::defer("note");
        Mail::defer("ada");
        defer_fn(|cx| async move {
            cx.state::<Log>()?.add("closure");
            Ok(())
        });
        Mail::defer("grace");
        defer_fn(function);
        tokio::task::yield_now().await;
        defer(Mail { to: "alan".into() });
        defer(Mail { to: "kurt".into() });
        let before = Defer::current().map(|defer| defer.len());
        defer_fn(move |cx| async move {
            // A closure may also return nothing.
            cx.state::<Log>().expect("the runner has a log").add(format!("{before:?} before this"));
        });
    }
    for by in By::BOTH {
        let log = Log::new();
        let server = by.serve(Router::new().route("/", get(handler)), &runner(&log)).await;
        Tcp::connect(server.addr).await.get("/").await;
        let expected = [
            "note",
            "mail to ada",
            "closure",
            "mail to grace",
            "function",
            "mail to alan",
            "mail to kurt",
            "Some(7) before this",
        ];
        assert_eq!(log.wait_for(8).await, expected, "{by:?}");
    }
}

#[tokio::test]
async fn a_job_begins_when_the_one_before_it_has_ended() {
    for by in By::BOTH {
        let (log, gate) = (Log::new(), Arc::new(Notify::new()));
        let held = gate.clone();
        let handler = async move || {
            defer_fn(|cx| async move {
                cx.state::<Log>()?.add("first begins");
                held.notified().await;
                cx.state::<Log>()?.add("first ends");
                Ok(())
            });
            Note::defer("second");
        };
        let routes = Router::new().route("/", get(handler)).route("/other", get(other));
        let server = by.serve(routes, &runner(&log)).await;
        let mut client = Tcp::connect(server.addr).await;
        client.get("/").await;
        log.wait_for(1).await;
        client.get("/other").await;
        log.wait_for(2).await;
        gate.notify_one();
        let expected = ["first begins", "other", "first ends", "second"];
        assert_eq!(log.wait_for(4).await, expected, "{by:?}");
    }
}

#[tokio::test]
async fn jobs_of_different_requests_run_at_the_same_time() {
    for by in By::BOTH {
        let (log, gate) = (Log::new(), Arc::new(Notify::new()));
        let (first, second) = (gate.clone(), gate);
        let first = async move || {
            defer_fn(|cx| async move {
                first.notified().await;
                cx.state::<Log>()?.add("the second was there");
                Ok(())
            });
        };
        let second = async move || {
            defer_fn(|_| async move { second.notify_one() });
        };
        let routes = Router::new().route("/first", get(first)).route("/second", get(second));
        let server = by.serve(routes, &runner(&log)).await;
        let mut client = Tcp::connect(server.addr).await;
        client.get("/first").await;
        client.get("/second").await;
        assert_eq!(log.wait_for(1).await, ["the second was there"], "{by:?}");
    }
}

#[tokio::test]
async fn requests_of_one_connection_have_lists_of_their_own() {
    async fn handler() {
        let before = Defer::current().expect("a layer").len();
        for n in 0..2 {
            defer_fn(move |cx| async move {
                let request = cx.request().expect("a request's job");
                cx.state::<Log>()?.add(format!("{} {before} {n}", request.uri()));
                Ok(())
            });
        }
    }
    for by in By::BOTH {
        let log = Log::new();
        let server = by.serve(Router::new().fallback(handler), &runner(&log)).await;
        let mut client = Tcp::connect(server.addr).await;
        client.get("/a").await;
        log.wait_for(2).await;
        client.get("/b").await;
        assert_eq!(log.wait_for(4).await, ["/a 0 0", "/a 0 1", "/b 0 0", "/b 0 1"], "{by:?}");
    }
}
