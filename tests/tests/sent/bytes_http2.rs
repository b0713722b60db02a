//! Over HTTP/2, `bytes_sent` is exact for a response that was sent. For others it never exceeds what was accepted.

use std::convert::Infallible;

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use defer_axum::{DeferLayer, Runner};
use defer_tests::{By, Log, NoteEnding, Wire, WireListener};
use h2::client::Builder;

use defer_tests::http2::{self, body_of, data_bytes, drain, read};

const LARGE: usize = 8_000_000;

fn routes() -> Router {
    let full = async || {
        NoteEnding::defer();
        vec![b'x'; LARGE]
    };
    let streamed = async || {
        NoteEnding::defer();
        let chunk = Bytes::from(vec![b'x'; LARGE / 100]);
        Body::from_stream(tokio_stream::iter(vec![Ok::<_, Infallible>(chunk); 100]))
    };
    Router::new().route("/full", get(full)).route("/streamed", get(streamed))
}

#[tokio::test]
async fn of_a_stream_that_is_reset_no_more_counts_than_was_taken() {
    for path in ["/full", "/streamed"] {
        for window in [65_535, 1_000_000] {
            for bytes in [1, 50_000, 2_000_000] {
                let (wire, log) = (Wire::new(), Log::new());
                let runner = Runner::builder().state(log.clone()).build();
                let app = routes().layer(DeferLayer::new(runner.clone()));
                let server = By::Defer.serve_on(WireListener::bind(&wire).await, app, runner);
                let mut settings = Builder::new();
                settings.initial_window_size(window).initial_connection_window_size(window);
                let mut client = http2::connect_with(server.addr, &settings).await;
                let mut body = body_of(client.get(path).await).await;
                read(&mut body, bytes).await;
                drop(body);
                let lines = log.wait_for(1).await;
                let counted = lines[0].strip_prefix("Disconnected 200 ").map(str::parse);
                let counted: usize = counted.expect("it was reset").expect("a number");
                let taken = data_bytes(&wire.accepted(), 1);
                assert!(counted <= taken, "{path} {window} {bytes}: {counted} counted, {taken} taken");
            }
        }
    }
}

#[tokio::test]
async fn of_a_stream_that_is_sent_all_that_was_taken_counts() {
    for path in ["/full", "/streamed"] {
        let (wire, log) = (Wire::new(), Log::new());
        let runner = Runner::builder().state(log.clone()).build();
        let app = routes().layer(DeferLayer::new(runner.clone()));
        let server = By::Defer.serve_on(WireListener::bind(&wire).await, app, runner);
        let mut client = http2::connect(server.addr).await;
        assert_eq!(drain(&mut body_of(client.get(path).await).await).await, LARGE);
        assert_eq!(log.wait_for(1).await, [format!("Sent 200 {LARGE}")], "{path}");
        assert_eq!(data_bytes(&wire.accepted(), 1), LARGE, "{path}");
    }
}
