//! A response that is held only for jobs that will no longer run is let through.

use std::{future::poll_fn, pin::pin, sync::Arc};

use axum::{Router, routing::get};
use defer_axum::{DeferLayer, Deferred, Runner, defer_fn};
use defer_tests::{By, Log, Note, Tcp};
use tokio::sync::{Semaphore, mpsc};

use defer_tests::{ask, in_time};

/// An app on a runner that has room for one waiting job, and runs one at a time.
struct Setup {
    runner: Runner,
    routes: Router,
    /// Lets the jobs of `/waits` end.
    done: Arc<Semaphore>,
    log: Log,
    /// The jobs that `/cancelled` deferred.
    deferred: mpsc::UnboundedReceiver<Deferred>,
}

fn setup() -> Setup {
    let (log, done) = (Log::new(), Arc::new(Semaphore::new(0)));
    let runner = Runner::builder().state(log.clone()).max_running(1).max_pending(1).build();
    let (keep, deferred) = mpsc::unbounded_channel();
    let wait = done.clone();
    let waits = async move || {
        defer_fn(|cx| async move {
            cx.state::<Log>()?.add("runs");
            wait.acquire().await?.forget();
            Ok(())
        });
    };
    let cancelled = async move || {
        for line in ["one", "other"] {
            keep.send(Note::defer(line)).expect("the test waits");
        }
        "answer"
    };
    let routes = Router::new().route("/waits", get(waits)).route("/cancelled", get(cancelled));
    Setup { runner, routes, done, log, deferred }
}

/// Fills the runner: one job runs, and one waits.
async fn fill(client: &mut Tcp, log: &Log) {
    assert_eq!(in_time(client.get("/waits")).await.status, 200);
    log.wait_for(1).await;
    assert_eq!(in_time(client.get("/waits")).await.status, 200);
}

#[tokio::test]
async fn a_response_whose_jobs_are_cancelled_goes_out_though_the_runner_is_full() {
    for by in By::BOTH {
        let Setup { runner, routes, done, log, mut deferred } = setup();
        let server = by.serve(routes, &runner).await;
        fill(&mut Tcp::connect(server.addr).await, &log).await;
        let mut client = Tcp::connect(server.addr).await;
        client.send_get("/cancelled").await;
        for _ in 0..2 {
            assert!(deferred.recv().await.expect("the handler defers").cancel(), "{by:?}");
        }
        assert_eq!(in_time(client.reply("GET")).await.text(), "answer", "{by:?}");
        done.add_permits(2);
        in_time(runner.idle()).await;
        let stats = runner.stats();
        assert_eq!((stats.succeeded, stats.cancelled, stats.deferred), (2, 2, 4), "{by:?}");
    }
}

#[tokio::test]
async fn a_held_response_goes_out_when_the_last_of_its_jobs_is_cancelled() {
    let Setup { runner, routes, done, log, mut deferred } = setup();
    let app = routes.layer(DeferLayer::new(runner.clone()));
    for _ in 0..2 {
        drop(ask(&app, "/waits").await);
    }
    log.wait_for(1).await;
    // The running job has left its room to the waiting one.
    let mut held = pin!(ask(&app, "/cancelled"));
    let mut is_held =
        async || poll_fn(|cx| std::task::Poll::Ready(held.as_mut().poll(cx).is_pending())).await;
    assert!(is_held().await);
    let (one, other) = (deferred.recv().await.unwrap(), deferred.recv().await.unwrap());
    assert!(one.cancel());
    assert!(is_held().await, "the other job waits for room");
    assert!(other.cancel());
    assert_eq!(in_time(held).await.status(), 200);
    done.add_permits(2);
    in_time(runner.idle()).await;
    let stats = runner.stats();
    assert_eq!((stats.succeeded, stats.cancelled, stats.deferred), (2, 2, 4));
}
