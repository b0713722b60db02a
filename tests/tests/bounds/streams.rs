//! Streams that defer for hours take no room from other requests, nor from requests that they make.

use axum::{Router, body::Body, routing::get};
use defer_axum::{DeferLayer, Runner};
use defer_tests::{By, FedBody, Feed, Log, Note, Tcp};
use tokio_stream::StreamExt;

use defer_tests::{all_have_run, ask, in_time, read};

fn runner(max_running: usize, max_pending: usize) -> Runner {
    Runner::builder().state(Log::new()).max_running(max_running).max_pending(max_pending).build()
}

/// Routes that defer and answer at once.
fn other() -> Router {
    Router::new().route(
        "/other",
        get(async || {
            Note::defer("other");
            "other"
        }),
    )
}

/// A stream that defers with each event.
fn deferring(body: &FedBody) -> Body {
    let events = body.take().into_data_stream().map(|event| {
        Note::defer("event");
        event
    });
    Body::from_stream(events)
}

/// A stream that makes a request with each event.
fn asking(body: &FedBody, router: Router) -> Body {
    let events = body.take().into_data_stream().then(move |event| {
        let router = router.clone();
        async move {
            read(ask(&router, "/other").await).await;
            event
        }
    });
    Body::from_stream(events)
}

/// The client of an open stream.
struct Stream {
    client: Tcp,
    feed: Feed,
}

impl Stream {
    async fn open(mut client: Tcp, feed: Feed) -> Self {
        client.send_get("/stream").await;
        // Reads only the head.
        assert_eq!(in_time(client.reply("HEAD")).await.status, 200);
        Self { client, feed }
    }

    /// Sends an event, and waits until it has arrived.
    async fn event(&mut self) {
        self.feed.send("event");
        assert_eq!(in_time(self.client.exactly(10)).await, b"5\r\nevent\r\n");
    }

    /// Ends the stream, and waits until the end has arrived.
    async fn end(mut self) {
        drop(self.feed);
        assert_eq!(in_time(self.client.exactly(5)).await, b"0\r\n\r\n");
    }
}

#[tokio::test]
async fn a_stream_that_makes_a_request_with_each_event_goes_on() {
    for by in By::BOTH {
        for (max_running, max_pending) in [(1024, 4), (1024, 1), (1, 1)] {
            let (runner, (feed, body)) = (runner(max_running, max_pending), Feed::new());
            let layered = other().layer(DeferLayer::new(runner.clone()));
            let routes = Router::new().route("/stream", get(async move || asking(&body, layered)));
            let server = by.serve(routes, &runner).await;
            let mut stream = Stream::open(Tcp::connect(server.addr).await, feed).await;
            for _ in 0..20 {
                stream.event().await;
            }
            stream.end().await;
            assert_eq!(all_have_run(&runner).await, 20, "{by:?} {max_running} {max_pending}");
        }
    }
}

#[tokio::test]
async fn others_are_answered_while_a_stream_defers() {
    for by in By::BOTH {
        for (max_running, max_pending) in [(1024, 4), (1024, 1), (1, 1)] {
            let (runner, (feed, body)) = (runner(max_running, max_pending), Feed::new());
            let routes = other().route("/stream", get(async move || deferring(&body)));
            let server = by.serve(routes, &runner).await;
            let mut stream = Stream::open(Tcp::connect(server.addr).await, feed).await;
            let mut client = Tcp::connect(server.addr).await;
            for n in 0..100 {
                stream.event().await;
                if n % 10 == 9 {
                    assert_eq!(in_time(client.get("/other")).await.text(), "other", "{by:?} event {n}");
                }
            }
            stream.end().await;
            assert_eq!(all_have_run(&runner).await, 110, "{by:?} {max_running} {max_pending}");
        }
    }
}

#[tokio::test]
async fn a_stream_that_defers_goes_on_while_others_fill_the_runner() {
    for by in By::BOTH {
        let (runner, (feed, body)) = (runner(1, 1), Feed::new());
        let (slow_feed, slow_body) = Feed::new();
        let handler = async move || {
            Note::defer("held by its body");
            slow_body.take()
        };
        let routes =
            Router::new().route("/slow", get(handler)).route("/stream", get(async move || deferring(&body)));
        let server = by.serve(routes, &runner).await;
        // This response is being sent, so its job keeps its room until the body ends.
        let mut slow = Tcp::connect(server.addr).await;
        slow.send_get("/slow").await;
        slow.reply("HEAD").await;
        let mut stream = Stream::open(Tcp::connect(server.addr).await, feed).await;
        for _ in 0..20 {
            stream.event().await;
        }
        stream.end().await;
        drop(slow_feed);
        assert_eq!(in_time(slow.exactly(5)).await, b"0\r\n\r\n", "{by:?}");
        assert_eq!(all_have_run(&runner).await, 21, "{by:?}");
    }
}
