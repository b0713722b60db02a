//! Debounced and throttled jobs of many requests.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::Path, routing::get};
use defer_axum::defer_fn;
use defer_tests::{By, Log, Note, Tcp, in_time, runner};
use tokio::sync::Notify;

/// Defers a scan that is throttled, and an index of the last edit.
async fn edit(Path(number): Path<u32>) {
    Note::defer("scan").at_most_every("scan", Duration::from_secs(3600));
    Note::defer(format!("edit {number}")).unique("edit").replace().serial("index");
}

#[tokio::test]
async fn of_many_requests_the_last_edit_is_indexed_and_one_scan_runs() {
    for by in By::BOTH {
        let log = Log::new();
        let runner = runner(&log);
        let gate = Arc::new(Notify::new());
        let held = gate.clone();
        // The index is busy, so edits wait for their turn.
        let busy = move || async move {
            defer_fn(move |_| async move { held.notified().await }).serial("index");
        };
        let app = Router::new().route("/busy", get(busy)).route("/edit/{number}", get(edit));
        let server = by.serve(app, &runner).await;
        let mut client = Tcp::connect(server.addr).await;
        client.get("/busy").await;
        for number in 1..=3 {
            client.get(&format!("/edit/{number}")).await;
        }
        in_time(async {
            while runner.stats().cancelled < 4 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        gate.notify_one();
        in_time(runner.idle()).await;
        assert_eq!(log.lines(), ["scan", "edit 3"], "{by:?}");
        assert_eq!((runner.stats().succeeded, runner.stats().cancelled), (3, 4), "{by:?}");
    }
}
