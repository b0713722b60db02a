//! A graceful shutdown.

use http::Method;

use crate::{Setup, all, client::Client, start};

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
