//! Whatever the order of partial writes, pending flushes, errors and drops: each response's jobs are released
//! exactly once, and as sent exactly when its last byte was accepted and flushed.

use std::{collections::BTreeSet, convert::Infallible, future::poll_fn};

use axum::{Router, body::Body, extract::Path, routing::get};
use bytes::Bytes;
use defer_axum::{DeferLayer, Runner, defer_fn};
use defer_tests::{Log, Pipe, PipeClient, PipeListener, http1_ends, http2_ends};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    /// A request, for this many bytes, full or streamed.
    Request(usize, bool),
    Allow(usize),
    BlockFlushes(bool),
    /// The client resets the n-th of its streams (HTTP/2).
    Reset(usize),
    BreakWrites,
    Leave,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let sizes = prop_oneof![Just(0), 1..300_usize, 200..40_000_usize];
    let step = prop_oneof![
        5 => (sizes, any::<bool>()).prop_map(|(size, full)| Step::Request(size, full)),
        8 => prop_oneof![1..400_usize, 1..50_000_usize].prop_map(Step::Allow),
        2 => any::<bool>().prop_map(Step::BlockFlushes),
        2 => (0..20_usize).prop_map(Step::Reset),
        1 => Just(Step::BreakWrites),
        1 => Just(Step::Leave),
    ];
    prop::collection::vec(step, 1..40)
}

/// Lets every task go on until nothing happens any more.
async fn settle(pipe: &Pipe, log: &Log) {
    let mut quiet = 0;
    let mut seen = (pipe.progress(), log.lines().len());
    while quiet < 30 {
        tokio::task::yield_now().await;
        let now = (pipe.progress(), log.lines().len());
        quiet = if now == seen { quiet + 1 } else { 0 };
        seen = now;
    }
}

/// The requests whose jobs were released with this delivery.
fn released(log: &Log, delivery: &str) -> BTreeSet<usize> {
    let lines = log.lines();
    let of = lines.iter().filter_map(|line| line.strip_suffix(delivery)?.trim_end().parse().ok());
    of.collect()
}

fn serve(pipe: &Pipe, log: &Log) -> Runner {
    let runner = Runner::builder().state(log.clone()).build();
    let route = |Path((n, size, full)): Path<(usize, usize, bool)>| async move {
        defer_fn(move |cx| async move {
            let delivery = cx.response().expect("a request's job").delivery();
            cx.state::<Log>()?.add(format!("{n} {delivery:?}"));
            Ok(())
        });
        if full {
            return Body::from(vec![b'x'; size]);
        }
        let chunks = vec![b'x'; size];
        let chunks: Vec<_> = chunks.chunks(3_000).map(|chunk| Ok::<_, Infallible>(chunk.to_vec())).collect();
        Body::from_stream(tokio_stream::iter(chunks))
    };
    let app = Router::new().route("/{n}/{size}/{full}", get(route)).layer(DeferLayer::new(runner.clone()));
    let (connect, listener) = PipeListener::new();
    connect.send(pipe.clone()).expect("the listener is there");
    tokio::spawn(defer_axum::serve(listener, app, runner.clone()).into_future());
    runner
}

/// Plays the steps. `ends` says which requests' responses were accepted in full, of the bytes accepted.
async fn play<C: Client>(steps: Vec<Step>, per_write: usize, vectored: bool) -> Result<(), TestCaseError> {
    let (pipe, log) = (Pipe::new(per_write, vectored), Log::new());
    let runner = serve(&pipe, &log);
    let mut client = C::connect(&pipe).await;
    let (mut requests, mut blocked, mut over) = (0, false, false);
    for step in steps {
        match step {
            Step::Request(size, full) => {
                if !over {
                    client.request(&pipe, &format!("/{requests}/{size}/{full}")).await;
                    requests += 1;
                }
            }
            Step::Allow(bytes) => pipe.allow(bytes),
            Step::BlockFlushes(block) => {
                pipe.block_flushes(block);
                blocked = block;
            }
            Step::Reset(n) => client.reset(n),
            Step::BreakWrites => {
                pipe.break_writes();
                over = true;
            }
            Step::Leave => {
                client.leave(&pipe);
                over = true;
            }
        }
        settle(&pipe, &log).await;
        let sent = released(&log, "Sent");
        let ended = C::ended(&pipe.accepted());
        prop_assert!(sent.is_subset(&ended), "sent {sent:?}, but accepted only {ended:?}");
        if !blocked && !over && (C::IS_EXACT || pipe.has_room()) {
            prop_assert_eq!(&sent, &ended, "accepted in full, but not said to be sent");
        }
    }
    pipe.block_flushes(false);
    pipe.allow(usize::MAX);
    settle(&pipe, &log).await;
    client.leave(&pipe);
    settle(&pipe, &log).await;
    runner.idle().await;
    let lines = log.lines();
    let stats = runner.stats();
    prop_assert_eq!(stats.deferred, lines.len() as u64);
    prop_assert_eq!(stats.succeeded, stats.deferred);
    let distinct: BTreeSet<_> = lines.iter().map(|line| line.split(' ').next()).collect();
    prop_assert_eq!(distinct.len(), lines.len(), "released twice: {:?}", lines);
    prop_assert!(released(&log, "Sent").is_subset(&C::ended(&pipe.accepted())));
    if !over {
        prop_assert_eq!(lines.len(), requests.min(lines.len()), "lost: {:?}", lines);
    }
    Ok(())
}

trait Client {
    /// Whether a job is released with its response's last byte. h2 puts the frames of several streams into one
    /// buffer, and flushes when that is written: while the pipe is full a release may wait for the rest of it.
    const IS_EXACT: bool;

    async fn connect(pipe: &Pipe) -> Self;
    async fn request(&mut self, pipe: &Pipe, path: &str);
    fn reset(&mut self, n: usize);
    fn leave(&mut self, pipe: &Pipe);
    /// Which requests' responses end in these bytes.
    fn ended(bytes: &[u8]) -> BTreeSet<usize>;
}

struct Http1;

impl Client for Http1 {
    const IS_EXACT: bool = true;

    async fn connect(_: &Pipe) -> Self {
        Self
    }

    async fn request(&mut self, pipe: &Pipe, path: &str) {
        pipe.send(format!("GET {path} HTTP/1.1\r\nhost: t\r\n\r\n").as_bytes());
    }

    fn reset(&mut self, _: usize) {}

    fn leave(&mut self, pipe: &Pipe) {
        pipe.leave();
    }

    fn ended(bytes: &[u8]) -> BTreeSet<usize> {
        (0..http1_ends(bytes).len()).collect()
    }
}

struct Http2 {
    client: Option<h2::client::SendRequest<Bytes>>,
    streams: Vec<tokio::task::JoinHandle<()>>,
    connection: tokio::task::JoinHandle<()>,
}

impl Client for Http2 {
    const IS_EXACT: bool = false;

    async fn connect(pipe: &Pipe) -> Self {
        let (client, connection) = h2::client::Builder::new()
            .initial_window_size(30_000)
            .handshake(PipeClient(pipe.clone()))
            .await
            .expect("a pipe takes everything");
        let connection = tokio::spawn(async move { drop(connection.await) });
        Self { client: Some(client), streams: Vec::new(), connection }
    }

    async fn request(&mut self, _: &Pipe, path: &str) {
        let Some(client) = &mut self.client else { return };
        if poll_fn(|cx| client.poll_ready(cx)).await.is_err() {
            return;
        }
        let request = http::Request::builder().uri(format!("http://t{path}")).body(()).expect("a request");
        let Ok((response, _)) = client.send_request(request, true) else { return };
        self.streams.push(tokio::spawn(async move {
            let Ok(response) = response.await else { return };
            let mut body = response.into_body();
            while let Some(Ok(data)) = body.data().await {
                drop(body.flow_control().release_capacity(data.len()));
            }
        }));
    }

    fn reset(&mut self, n: usize) {
        if let Some(stream) = self.streams.get(n) {
            stream.abort();
        }
    }

    fn leave(&mut self, pipe: &Pipe) {
        self.client = None;
        self.connection.abort();
        pipe.leave();
    }

    fn ended(bytes: &[u8]) -> BTreeSet<usize> {
        http2_ends(bytes).keys().map(|stream| *stream as usize / 2).collect()
    }
}

fn run<C: Client>(steps: Vec<Step>, per_write: usize, vectored: bool) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(play::<C>(steps, per_write, vectored))
}

/// The frame that is being written when the reset comes is written to its end, and the last byte is not in it.
#[test]
fn data_of_which_a_reset_leaves_a_byte_unwritten_are_not_sent() {
    use Step::{Allow, Request, Reset};
    let steps = [Request(16_385, true), Allow(39), Reset(0), Request(0, false), Request(0, false)];
    for vectored in [false, true] {
        run::<Http2>(steps.to_vec(), 1, vectored).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn http1_jobs_are_released_once_and_never_before_the_last_byte(
        steps in steps(), per_write in 1..20_000_usize, vectored: bool,
    ) {
        run::<Http1>(steps, per_write, vectored)?;
    }

    #[test]
    fn http2_jobs_are_released_once_and_never_before_the_last_byte(
        steps in steps(), per_write in 1..20_000_usize, vectored: bool,
    ) {
        run::<Http2>(steps, per_write, vectored)?;
    }
}
