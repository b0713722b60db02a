//! The process-wide runner. Alone in its process.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use defer_core::{GlobalRunnerExists, JobResult, Runner, defer_fn};

static RAN: AtomicUsize = AtomicUsize::new(0);

fn defer_with_state() {
    defer_fn(|cx| async move {
        assert_eq!(cx.state::<String>()?, "what jobs need");
        RAN.fetch_add(1, Ordering::SeqCst);
        JobResult::Ok(())
    });
}

#[tokio::test]
async fn an_installed_runner_gives_jobs_outside_of_a_request_their_state() {
    let runner = Runner::builder().state(String::from("what jobs need")).install_global().unwrap();
    // Here, in a task, on a thread of the pool, and in a callback on a thread of one's own.
    defer_with_state();
    tokio::spawn(async { defer_with_state() }).await.unwrap();
    tokio::task::spawn_blocking(defer_with_state).await.unwrap();
    let runtime = tokio::runtime::Handle::current();
    let thread = std::thread::spawn(move || {
        let _entered = runtime.enter();
        defer_with_state();
    });
    thread.join().unwrap();
    runner.idle().await;
    assert_eq!((RAN.load(Ordering::SeqCst), runner.stats().succeeded), (4, 4));
    assert_eq!(Runner::global().stats(), runner.stats(), "it is the global one");

    let again: GlobalRunnerExists = Runner::builder().install_global().unwrap_err();
    assert!(again.to_string().contains("early in `main`"), "{again}");
    assert_eq!(Runner::global().shutdown(Duration::ZERO).await.unfinished, []);
}
