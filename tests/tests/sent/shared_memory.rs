//! Bodies that share memory are told apart: the end of one says nothing about another.

use std::collections::BTreeSet;

use axum::{Router, extract::Path, routing::get};
use bytes::Bytes;
use defer_axum::{DeferLayer, JobResult, Runner, defer_fn};
use defer_tests::{By, Log, Wire, WireListener, http2_ends};
use h2::client::Builder;
use tokio::task::JoinSet;

use defer_tests::{
    all_have_run,
    http2::{self, body_of, drain, read},
};

const SIZE: usize = 100_000;
const STREAMS: usize = 20;

/// Plays one round with the streams `n` of these bodies. Every fourth stream is reset halfway.
async fn round(bodies: impl Fn(usize) -> Bytes + Clone + Send + Sync + 'static) {
    let (wire, log) = (Wire::new(), Log::new());
    let runner = Runner::builder().state(log.clone()).build();
    let handler = async move |Path(n): Path<usize>| {
        defer_fn(move |cx| async move {
            let response = cx.response().expect("a request's job");
            cx.state::<Log>()?.add(format!("{n} {:?} {}", response.delivery(), response.bytes_sent()));
            JobResult::Ok(())
        });
        bodies(n)
    };
    let app = Router::new().route("/{n}", get(handler)).layer(DeferLayer::new(runner.clone()));
    let server = By::Defer.serve_on(WireListener::bind(&wire).await, app, runner.clone());
    let mut settings = Builder::new();
    settings.initial_window_size(40_000).initial_connection_window_size(60_000);
    let mut client = http2::connect_with(server.addr, &settings).await;
    let mut reading = JoinSet::new();
    for n in 0..STREAMS {
        let response = client.get(&format!("/{n}")).await;
        assert_eq!(response.stream_id().as_u32(), stream(n));
        reading.spawn(async move {
            let mut body = body_of(response).await;
            if is_reset(n) {
                // The window lets at most 40,000 more through, which is not everything.
                read(&mut body, SIZE / 2).await;
            } else {
                assert_eq!(drain(&mut body).await, SIZE);
            }
        });
    }
    reading.join_all().await;
    assert_eq!(all_have_run(&runner).await, STREAMS as u64);
    let mut lines = log.lines();
    lines.sort_by_key(|line| line.split(' ').next().and_then(|n| n.parse::<usize>().ok()));
    let ends = http2_ends(&wire.accepted());
    let ended: BTreeSet<_> = ends.into_keys().collect();
    let whole: BTreeSet<_> = (0..STREAMS).filter(|n| !is_reset(*n)).map(stream).collect();
    assert_eq!(ended, whole);
    for (n, line) in lines.iter().enumerate() {
        if is_reset(n) {
            assert!(line.starts_with(&format!("{n} Disconnected ")), "{lines:#?}");
        } else {
            assert_eq!(*line, format!("{n} Sent {SIZE}"), "{lines:#?}");
        }
    }
}

fn is_reset(n: usize) -> bool {
    n % 4 == 3
}

/// Returns the id of the n-th stream.
fn stream(n: usize) -> u32 {
    u32::try_from(2 * n + 1).expect("few streams")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_of_one_cached_body_are_told_apart() {
    let cached = Bytes::from(vec![b'x'; SIZE]);
    for _ in 0..60 {
        let cached = cached.clone();
        round(move |_| cached.clone()).await;
    }
}

#[tokio::test]
async fn responses_of_one_cached_body_are_told_apart_on_one_thread() {
    let cached = Bytes::from(vec![b'x'; SIZE]);
    for _ in 0..60 {
        let cached = cached.clone();
        round(move |_| cached.clone()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_of_slices_of_one_static_are_told_apart() {
    static PAGE: [u8; 2 * SIZE] = [b'x'; 2 * SIZE];
    for _ in 0..60 {
        // Overlapping slices, and some equal ones.
        round(|n| Bytes::from_static(&PAGE).slice(n / 2 * 5_000..n / 2 * 5_000 + SIZE)).await;
    }
}
