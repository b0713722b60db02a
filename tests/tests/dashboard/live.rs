//! Live changes of an open page.

use std::time::Duration;

use axum::{Router, routing::get};
use defer_axum::{Dashboard, Runner, scope};
use defer_tests::{By, Server, Tcp, in_time};
use serde_json::Value;

use crate::{Fails, Good, MOMENT, every_kind, page, run_every_kind};

/// An open stream of changes.
struct Changes(Tcp);

impl Changes {
    async fn open(server: &Server, query: &str) -> Self {
        let mut client = Tcp::connect(server.addr).await;
        client.send_get(&format!("/jobs/events{query}")).await;
        client.read_until("\r\n\r\n").await;
        let head = client.line().await;
        assert!(head.contains("200"), "{head}");
        let mut head = String::new();
        loop {
            match client.line().await {
                line if line.is_empty() => break,
                line => head.push_str(&line.to_lowercase()),
            }
        }
        assert!(head.contains("x-accel-buffering: no") && head.contains("no-store"), "{head}");
        Self(client)
    }

    /// Returns the next change, or `None` at the end.
    async fn next(&mut self) -> Option<Value> {
        let size = usize::from_str_radix(&self.0.line().await, 16).expect("a chunk size");
        let chunk = String::from_utf8(self.0.exactly(size).await).expect("UTF-8");
        assert_eq!(self.0.line().await, "");
        (size > 0).then(|| serde_json::from_str(&chunk).expect("a line of JSON"))
    }

    /// Waits for a change of this section that contains this text.
    async fn section_with(&mut self, section: &str, text: &str) -> String {
        loop {
            let changed = self.next().await.expect("the stream has not ended");
            let change = changed[section].to_string();
            if change.contains(text) {
                return change;
            }
        }
    }
}

#[tokio::test]
async fn an_open_page_is_told_what_has_changed() {
    let runner = Runner::default();
    let server = every_kind(By::Defer, &runner, Dashboard::new(&runner)).await;
    let mut events = in_time(Changes::open(&server, "?outcome=failed")).await;
    let first = in_time(events.next()).await.expect("an event");
    for (section, has) in [
        ("now", "Running"),
        ("types", "No job"),
        ("health", "Nothing is wrong"),
        ("runs", "No such run"),
        ("queue", "No queue"),
    ] {
        assert!(first[section].to_string().contains(has), "{section}: {first}");
    }
    run_every_kind(&server).await;
    let runs = in_time(events.section_with("runs", "Fails")).await;
    assert!(runs.contains("refused") && !runs.contains(">Good<"), "only those of its view: {runs}");
    // Another run of a type changes only the figures of its row. The next line may still report the first run.
    let mut types = Value::Null;
    for _ in 0..3 {
        run_every_kind(&server).await;
        let change = in_time(events.section_with("types", "Fails")).await;
        types = serde_json::from_str(&change).expect("JSON");
        if types["frame"].is_null() && types["order"].is_null() {
            break;
        }
    }
    assert_eq!((&types["frame"], &types["order"]), (&Value::Null, &Value::Null), "{types}");
    let row = types["rows"]["Fails"].to_string();
    assert!(row.contains("failed") && !row.contains("?name=Fails"), "{row}");
    assert!(row.len() < 500, "{} bytes: {row}", row.len());
}

#[tokio::test]
async fn an_open_page_keeps_no_server_from_its_end_and_tells_of_the_shutdown() {
    for by in By::BOTH {
        let runner = Runner::default();
        let routes: Router = Router::new()
            .route("/", get(async || drop(Good::defer())))
            .nest("/jobs", Dashboard::new(&runner).into());
        let server = by.serve(routes, &runner).await;
        let mut events = in_time(Changes::open(&server, "")).await;
        in_time(events.next()).await.expect("an event");
        if by == By::Axum {
            // Under axum's server, nothing tells the runner about the signal.
            runner.announce_shutdown();
        }
        let last = async {
            let mut now = String::new();
            while let Some(event) = events.next().await {
                if event["health"].is_object() {
                    now = event["health"].to_string();
                }
            }
            now
        };
        let (_, now) = in_time(async { tokio::join!(server.stop(), last) }).await;
        assert!(now.contains("The service is shutting down."), "{now}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_at_an_announced_shutdown_and_after_half_a_minute() {
    let runner = Runner::default();
    let router: Router = Router::new().nest("/jobs", Dashboard::new(&runner).into());
    let began = tokio::time::Instant::now();
    let response = defer_tests::ask(&router, "/jobs/events").await;
    assert!(defer_tests::read(response).await > 0);
    assert_eq!(began.elapsed().as_secs(), 30);

    // It ends at once when the runner is told.
    let response = defer_tests::ask(&router, "/jobs/events").await;
    let reading = tokio::spawn(defer_tests::read(response));
    // The clock is paused, so this only lets the stream send some events.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let began = tokio::time::Instant::now();
    runner.announce_shutdown();
    assert!(reading.await.expect("no panic") > 0);
    assert_eq!(began.elapsed().as_secs(), 0);
}

#[tokio::test]
async fn clients_that_leave_or_do_not_read_cost_nothing_for_long() {
    let runner = Runner::default();
    let server = every_kind(By::Defer, &runner, Dashboard::new(&runner)).await;
    for _ in 0..20 {
        drop(Changes::open(&server, "").await);
    }
    let mut silent = Tcp::connect(server.addr).await;
    silent.send_get("/jobs/events").await;
    scope(&runner, async { Fails::defer("while nobody reads") }).await;
    in_time(runner.idle()).await;
    tokio::time::sleep(MOMENT).await;
    assert!(page(&server, "/jobs").await.contains("while nobody reads"));
    drop(silent);
    in_time(server.stop()).await;
}
