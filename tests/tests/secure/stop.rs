//! A graceful shutdown.

use std::time::Duration;

use defer_tests::in_time;
use http::Method;

use crate::{Setup, all, client::Client, start, start_with};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_keeps_a_server_from_its_end_and_its_jobs_run() {
    for (by, version) in all() {
        for (path, ending) in [
            ("/never", "never Cancelled 0"),
            ("/open", "open Disconnected"),
            ("/full/8000000", "full Disconnected"),
        ] {
            let Setup { server, wire, log, .. } = start_with(by, Duration::from_millis(50)).await;
            let mut client = Client::connect(server.addr, version).await;
            if path.starts_with("/full") {
                client.tap.hold();
            }
            let asked = client.ask(Method::GET, path).await;
            match path {
                "/never" => drop(log.wait_for(1).await),
                "/open" => drop(log.wait_for(1).await),
                _ => wire.blocked().await,
            }
            let report = in_time(server.stop()).await;
            assert!(report.unfinished.is_empty(), "{by:?} {version:?} {path}: {report:?}");
            let lines = log.lines();
            let last = lines.last().map_or("", String::as_str);
            assert!(last.starts_with(ending), "{by:?} {version:?} {path}: {lines:?}");
            drop(asked);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graceful_shutdown_finishes_the_open_responses_and_their_jobs() {
    for (by, version) in all() {
        let Setup { mut server, wire, log, .. } = start(by).await;
        let mut client = Client::connect(server.addr, version).await;
        client.tap.hold();
        let asked = client.ask(Method::GET, "/full/8000000").await;
        wire.blocked().await;
        server.begin_to_stop();
        assert_eq!(log.lines(), [""; 0], "{by:?} {version:?}");
        client.tap.go_on();
        assert_eq!(client.read(asked).await, (200, 8_000_000), "{by:?} {version:?}");
        client.leave();
        let report = server.stop().await;
        assert!(report.unfinished.is_empty(), "{by:?} {version:?}: {report:?}");
        let lines = log.lines();
        assert!(lines[0].starts_with("full Sent 8000000 "), "{by:?} {version:?}: {lines:?}");
    }
}
