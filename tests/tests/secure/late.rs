//! A client that reads late, or leaves.

use http::Method;

use crate::{Setup, all, client::Client, start};

const LARGE: usize = 8_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_reader_has_every_byte_accepted_before_the_job_starts() {
    for (by, version) in all() {
        for path in ["full", "streamed"] {
            let case = format!("{by:?} {version:?} {path}");
            let Setup { server, wire, log, .. } = start(by).await;
            let mut client = Client::connect(server.addr, version).await;
            client.tap.hold();
            let asked = client.ask(Method::GET, &format!("/{path}/{LARGE}")).await;
            wire.blocked().await;
            assert!(wire.len() < LARGE, "{case}: the socket's buffers took everything: nothing is shown");
            assert_eq!(log.lines(), [""; 0], "{case}: a job started while its response was stuck");

            client.tap.go_on();
            assert_eq!(client.read(asked).await, (200, LARGE), "{case}");
            let lines = log.wait_for(1).await;
            assert!(lines[0].starts_with(&format!("{path} Sent {LARGE} ")), "{case}: {lines:?}");
            client.was_sent_before(&lines);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_while_the_rest_is_stuck_is_disconnected() {
    for (by, version) in all() {
        for path in ["full", "streamed"] {
            let case = format!("{by:?} {version:?} {path}");
            let Setup { server, runner, wire, log } = start(by).await;
            let mut client = Client::connect(server.addr, version).await;
            client.tap.hold();
            let asked = client.ask(Method::GET, &format!("/{path}/{LARGE}")).await;
            wire.blocked().await;
            assert_eq!(log.lines(), [""; 0], "{case}");
            drop(asked);
            client.leave();
            let lines = log.wait_for(1).await;
            assert!(lines[0].starts_with(&format!("{path} Disconnected ")), "{case}: {lines:?}");
            let bytes: usize = lines[0].split(' ').nth(2).and_then(|n| n.parse().ok()).expect("a number");
            assert!(bytes < LARGE, "{case}: {lines:?}");
            runner.idle().await;
            assert_eq!(runner.stats().succeeded, 1, "{case}");
            drop(server);
        }
    }
}
