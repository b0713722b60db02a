//! hyper's `pipeline_flush`, which does not write while the server has buffered requests.

use std::time::Duration;

use axum::Router;
use defer_axum::{DeferLayer, Runner};
use defer_tests::{
    Log, Wire,
    https::{Https, HttpsServer},
    in_time,
};
use http::Method;

use crate::{
    client::{Client, Version},
    routes,
};

async fn start(by: Https) -> (HttpsServer, Wire, Log) {
    let (wire, log) = (Wire::new(), Log::new());
    let runner = Runner::builder().state(wire.clone()).state(log.clone()).build();
    let app: Router = routes(&runner, &log).layer(DeferLayer::new(runner.clone()));
    let server = by.serve_with(app, &runner, &wire, Duration::from_secs(60), |builder| {
        builder.http1().pipeline_flush(true);
    });
    (server.await, wire, log)
}

/// `serve` has no such setting.
const OTHERS: [Https; 2] = [Https::AxumServer, Https::HyperUtil];

fn requests(paths: &[&str]) -> String {
    paths.iter().map(|path| format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")).collect()
}

#[tokio::test]
async fn responses_that_are_gathered_are_sent_in_order_and_so_are_their_jobs() {
    for by in OTHERS {
        let (server, _, log) = start(by).await;
        let mut client = Client::connect(server.addr, Version::Http1).await;
        let crate::client::Speaks::Http1(tcp) = &mut client.speaks else { unreachable!("it speaks HTTP/1") };
        tcp.send(requests(&["/full/5", "/empty", "/streamed/30000", "/full/70000", "/304"])).await;
        for length in [5, 0, 30_000, 70_000, 0] {
            assert_eq!(in_time(tcp.reply("GET")).await.body.len(), length, "{by:?}");
        }
        let mut lines = log.wait_for(5).await;
        lines.sort();
        let expected =
            ["304 Sent 0 ", "empty Sent 0 ", "full Sent 5 ", "full Sent 70000 ", "streamed Sent 30000 "];
        for (line, expected) in lines.iter().zip(expected) {
            assert!(line.starts_with(expected), "{by:?}: {lines:?}");
        }
    }
}

/// The first response is stuck when the other requests arrive. hyper does not flush it then, and nothing may wait for that flush.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_response_waits_for_a_flush_that_waits_for_it() {
    for by in OTHERS {
        // The others arrive together, or while one of them is already waiting.
        for parts in
            [vec![vec!["/full/5", "/full/6", "/full/7"]], vec![vec!["/full/5"], vec!["/full/6", "/full/7"]]]
        {
            let (server, wire, log) = start(by).await;
            let mut client = Client::connect(server.addr, Version::Http1).await;
            client.tap.hold();
            client.ask(Method::GET, "/full/8000000").await;
            wire.blocked().await;
            let crate::client::Speaks::Http1(tcp) = &mut client.speaks else {
                unreachable!("it speaks HTTP/1")
            };
            for paths in parts {
                tcp.send(requests(&paths)).await;
                // Nothing signals that the server has read them.
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
            assert_eq!(log.lines(), [""; 0], "{by:?}");
            client.tap.go_on();
            for length in [8_000_000, 5, 6, 7] {
                assert_eq!(in_time(tcp.reply("GET")).await.body.len(), length, "{by:?}");
            }
            let mut lines = log.wait_for(4).await;
            lines.sort();
            for (line, size) in lines.iter().zip([5, 6, 7, 8_000_000]) {
                assert!(line.starts_with(&format!("full Sent {size} ")), "{by:?}: {lines:?}");
            }
        }
    }
}

/// Which bytes belong to which of the gathered responses is unknown, so none are reported.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_gathered_responses_that_are_broken_off_no_byte_counts_that_was_not_taken() {
    for by in OTHERS {
        let (server, wire, log) = start(by).await;
        let mut client = Client::connect(server.addr, Version::Http1).await;
        client.tap.hold();
        let crate::client::Speaks::Http1(tcp) = &mut client.speaks else { unreachable!("it speaks HTTP/1") };
        // The first request defers no job.
        tcp.send(requests(&["/nothing/8000000", "/full/7000000", "/full/6000000"])).await;
        wire.blocked().await;
        client.leave();
        let lines = log.wait_for(2).await;
        for line in &lines {
            assert!(line.starts_with("full Disconnected 0 "), "{by:?}: {lines:?}");
        }
    }
}
