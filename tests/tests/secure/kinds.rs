//! Each kind of response.

use defer_tests::Tcp;
use http::Method;

use crate::{
    Setup, all,
    client::{Client, Speaks, Version},
    start,
};

#[tokio::test]
async fn each_kind_of_response_releases_its_jobs_once_when_sent() {
    let rows = [
        (Method::GET, "/full/0", "full Sent 0"),
        (Method::GET, "/full/5", "full Sent 5"),
        (Method::GET, "/full/20000", "full Sent 20000"),
        (Method::GET, "/full/300000", "full Sent 300000"),
        (Method::HEAD, "/full/5", "full Sent 0"),
        (Method::GET, "/streamed/300000", "streamed Sent 300000"),
        (Method::HEAD, "/streamed/300000", "streamed Sent 0"),
        (Method::GET, "/empty", "empty Sent 0"),
        (Method::GET, "/204", "204 Sent 0"),
        (Method::GET, "/304", "304 Sent 0"),
        (Method::GET, "/trailers", "trailers Sent 3"),
    ];
    for (by, version) in all() {
        for (method, path, expected) in &rows {
            let Setup { server, runner, log, .. } = start(by).await;
            let mut client = Client::connect(server.addr, version).await;
            let asked = client.ask(method.clone(), path).await;
            let (_, read) = client.read(asked).await;
            let lines = log.wait_for(1).await;
            let row = format!("{by:?} {version:?} {method} {path}: {lines:?}");
            assert!(lines[0].starts_with(&format!("{expected} ")), "{row}");
            assert!(*method == Method::HEAD || expected.ends_with(&format!(" {read}")), "{row}: read {read}");
            // The oracle cannot place these: HEAD responses, and responses with trailers over HTTP/2.
            if *method == Method::GET && !(version == Version::Http2 && *path == "/trailers") {
                client.was_sent_before(&lines);
            }
            client.leave();
            server.stop().await;
            let stats = runner.stats();
            assert_eq!((stats.deferred, stats.succeeded), (1, 1), "{row}");
        }
    }
}

#[tokio::test]
async fn a_request_made_in_this_process_has_a_response_of_its_own() {
    for (by, version) in all() {
        let Setup { server, log, .. } = start(by).await;
        let mut client = Client::connect(server.addr, version).await;
        assert_eq!(client.get("/within").await, (200, 1));
        let lines = log.wait_for(2).await;
        assert!(lines[0].starts_with("within Finished 6 "), "{by:?} {version:?}: {lines:?}");
        assert!(lines[1].starts_with("outer Sent 1 "), "{by:?} {version:?}: {lines:?}");
        client.was_sent_before(&lines[1..]);
    }
}

#[tokio::test]
async fn many_responses_on_one_connection_release_their_own_jobs() {
    for (by, version) in all() {
        let Setup { server, log, .. } = start(by).await;
        let mut client = Client::connect(server.addr, version).await;
        for n in 0..10 {
            let size = n * 7_000;
            assert_eq!(client.get(&format!("/full/{size}")).await, (200, size));
            let lines = log.wait_for(n + 1).await;
            assert!(lines[n].starts_with(&format!("full Sent {size} ")), "{by:?} {version:?}: {lines:?}");
        }
        client.was_sent_before(&log.lines());
    }
}

/// Streams of one connection over HTTP/2, pipelined requests over HTTP/1.
#[tokio::test]
async fn responses_at_once_on_one_connection_release_their_own_jobs() {
    for (by, version) in all() {
        let Setup { server, log, .. } = start(by).await;
        let mut client = Client::connect(server.addr, version).await;
        let mut asked = Vec::new();
        for n in 0..10 {
            asked.push(client.ask(Method::GET, &format!("/streamed/{}", n * 30_000)).await);
        }
        for asked in asked {
            client.read(asked).await;
        }
        let mut lines = log.wait_for(10).await;
        // Each request's jobs run in their own task, so the lines are in no particular order.
        lines.sort_by_key(|line| line.split(' ').nth(2).and_then(|bytes| bytes.parse::<usize>().ok()));
        for (n, line) in lines.iter().enumerate() {
            assert!(
                line.starts_with(&format!("streamed Sent {} ", n * 30_000)),
                "{by:?} {version:?}: {line}"
            );
        }
        client.was_sent_before(&lines);
    }
}

#[tokio::test]
async fn an_upgrade_over_http1_is_sent_when_its_head_is() {
    for by in defer_tests::https::Https::ALL {
        let Setup { server, log, .. } = start(by).await;
        let client = Client::connect(server.addr, Version::Http1).await;
        let Speaks::Http1(mut tcp): Speaks = client.speaks else { unreachable!("it speaks HTTP/1") };
        ask_for_a_websocket(&mut *tcp).await;
        assert_eq!(tcp.reply("GET").await.status, 101, "{by:?}");
        let lines = log.wait_for(1).await;
        assert!(lines[0].starts_with("upgrade Sent 0 "), "{by:?}: {lines:?}");
        // A masked text frame of one byte (RFC 6455, section 5.2). It comes back unmasked.
        tcp.send([0x81, 0x81, 0, 0, 0, 0, b'x']).await;
        assert_eq!(tcp.exactly(3).await, [0x81, 1, b'x'], "{by:?}");
    }
}

async fn ask_for_a_websocket<I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(tcp: &mut Tcp<I>) {
    tcp.send(
        "GET /upgrade HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    .await;
}
