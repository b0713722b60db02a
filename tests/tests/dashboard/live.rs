//! The events of an open page.

use std::time::Duration;

use axum::{Router, routing::get};
use defer_axum::{Dashboard, Runner, scope};
use defer_tests::{By, Server, Tcp, in_time};
use serde_json::Value;

use crate::{Fails, Good, MOMENT, every_kind, page, run_every_kind};

/// An open event stream.
struct Events(Tcp);

impl Events {
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

    /// Returns the sections of the next event; `None` at the end.
    async fn next(&mut self) -> Option<Value> {
        loop {
            let size = usize::from_str_radix(&self.0.line().await, 16).expect("a chunk size");
            let chunk = String::from_utf8(self.0.exactly(size).await).expect("UTF-8");
            assert_eq!(self.0.line().await, "");
            if size == 0 {
                return None;
            }
            if let Some(line) = chunk.lines().find_map(|line| line.strip_prefix("data: ")) {
                return Some(serde_json::from_str(line).expect("JSON"));
            }
        }
    }

    /// Returns the section as soon as it has this text.
    async fn section_with(&mut self, section: &str, text: &str) -> String {
        loop {
            let event = self.next().await.expect("the stream has not ended");
            if let Some(html) = event[section].as_str().filter(|html| html.contains(text)) {
                return html.to_owned();
            }
        }
    }
}

#[tokio::test]
async fn an_open_page_is_told_what_has_changed() {
    let runner = Runner::default();
    let server = every_kind(By::Defer, &runner, Dashboard::new(&runner)).await;
    let mut events = in_time(Events::open(&server, "?outcome=failed")).await;
    let first = in_time(events.next()).await.expect("an event");
    for (section, has) in
        [("now", "Running"), ("types", "No job"), ("runs", "No such run"), ("queue", "No queue")]
    {
        assert!(first[section].as_str().is_some_and(|html| html.contains(has)), "{section}: {first}");
    }
    run_every_kind(&server).await;
    let runs = in_time(events.section_with("runs", "Fails")).await;
    assert!(runs.contains("refused") && !runs.contains(">Good<"), "only those of its view: {runs}");
    // Nothing happens, so what the page has of the runs is not sent again.
    let next = in_time(events.next()).await.expect("the time goes on");
    assert_eq!(next["runs"], Value::Null, "{next}");
    assert_eq!(next["queue"], Value::Null, "{next}");
}

#[tokio::test]
async fn an_open_page_keeps_no_server_from_its_end_and_tells_of_the_shutdown() {
    for by in By::BOTH {
        let runner = Runner::default();
        let routes: Router = Router::new()
            .route("/", get(async || drop(Good::defer())))
            .nest("/jobs", Dashboard::new(&runner).into());
        let server = by.serve(routes, &runner).await;
        let mut events = in_time(Events::open(&server, "")).await;
        in_time(events.next()).await.expect("an event");
        if by == By::Axum {
            // Where nothing tells the runner of the signal.
            runner.announce_shutdown();
        }
        let last = async {
            let mut now = String::new();
            while let Some(event) = events.next().await {
                now = event["now"].as_str().unwrap_or(&now).to_owned();
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

    // And at once where something does.
    let response = defer_tests::ask(&router, "/jobs/events").await;
    let reading = tokio::spawn(defer_tests::read(response));
    // The clock is paused: this only lets the stream send some events.
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
        drop(Events::open(&server, "").await);
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
