//! The ways in which a request can end.

use http::Method;

use crate::{
    Setup, all,
    client::{Asked, Client, Version},
    start,
};

#[tokio::test]
async fn jobs_of_a_handler_that_panics_run_and_the_server_goes_on() {
    for (by, version) in all() {
        let Setup { server, log, .. } = start(by).await;
        let mut client = Client::connect(server.addr, version).await;
        let asked = client.ask(Method::GET, "/panics").await;
        client.is_refused(asked).await;
        let lines = log.wait_for(1).await;
        assert!(lines[0].starts_with("panics Panicked 0 "), "{by:?} {version:?}: {lines:?}");
        let mut client = Client::connect(server.addr, version).await;
        assert_eq!(client.get("/full/5").await, (200, 5), "{by:?} {version:?}");
        log.wait_for(2).await;
    }
}

#[tokio::test]
async fn a_body_that_fails_releases_its_jobs_as_failed() {
    for (by, version) in all() {
        let Setup { server, log, .. } = start(by).await;
        let mut client = Client::connect(server.addr, version).await;
        let asked = client.ask(Method::GET, "/fails").await;
        client.is_refused(asked).await;
        let lines = log.wait_for(1).await;
        assert!(lines[0].starts_with("fails Failed "), "{by:?} {version:?}: {lines:?}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_the_handler_works_cancels_it_and_the_jobs_run() {
    for (by, version) in all() {
        let Setup { server, log, .. } = start(by).await;
        let mut client = Client::connect(server.addr, version).await;
        let asked = client.ask(Method::GET, "/never").await;
        assert_eq!(log.wait_for(1).await, ["the handler works"], "{by:?} {version:?}");
        drop(asked);
        client.leave();
        let lines = log.wait_for(2).await;
        assert!(lines[1].starts_with("never Cancelled 0 "), "{by:?} {version:?}: {lines:?}");
    }
}

#[tokio::test]
async fn a_stream_that_the_client_resets_is_disconnected_and_the_others_go_on() {
    for (by, version) in all().filter(|(_, version)| *version == Version::Http2) {
        let Setup { server, wire, log, .. } = start(by).await;
        let mut client = Client::connect(server.addr, version).await;
        client.tap.hold();
        let asked = client.ask(Method::GET, "/full/8000000").await;
        wire.blocked().await;
        assert_eq!(log.lines(), [""; 0], "{by:?}");
        let Asked::Http2(response) = asked else { unreachable!("it speaks HTTP/2") };
        drop(response);
        // The server reads the reset even though it cannot write.
        let lines = log.wait_for(1).await;
        client.tap.go_on();
        assert!(lines[0].starts_with("full Disconnected "), "{by:?}: {lines:?}");
        assert_eq!(client.get("/full/5").await, (200, 5), "{by:?}");
        let lines = log.wait_for(2).await;
        assert!(lines[1].starts_with("full Sent 5 "), "{by:?}: {lines:?}");
    }
}
