//! Whatever the order of partial writes, pending flushes, errors and drops, and whatever memory responses share: each
//! response's jobs are released exactly once, and as sent exactly when its last byte was accepted and flushed.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    future::poll_fn,
};

use axum::{
    Router,
    body::Body,
    extract::Path,
    http::{Response, header::CONTENT_LENGTH},
    routing::get,
};
use bytes::Bytes;
use defer_axum::{DeferLayer, Runner, defer_fn};
use defer_tests::{
    By, Log, Pipe, PipeClient, PipeListener, http1_bodies, http1_ends, http2_bodies, http2_ends,
};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    /// A request for this many bytes.
    Request(usize, Kind),
    Allow(usize),
    BlockFlushes(bool),
    /// The client resets the n-th of its streams (HTTP/2).
    Reset(usize),
    BreakWrites,
    Leave,
}

/// What the handler answers.
#[derive(Clone, Copy, Debug)]
struct Kind {
    shape: Shape,
    memory: Memory,
    jobs: bool,
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    Full,
    Streamed,
    /// Streamed, with a content-length.
    Announced,
}

/// Where the bytes lie.
#[derive(Clone, Copy, Debug)]
enum Memory {
    Own,
    /// The same for all.
    Cached,
    /// A part of a static, from here on.
    Static(usize),
}

static STATIC: [u8; 50_000] = [b'x'; 50_000];

impl Memory {
    fn bytes(self, size: usize, cached: &Bytes) -> Bytes {
        match self {
            Self::Own => vec![b'x'; size].into(),
            Self::Cached => cached.slice(..size),
            Self::Static(from) => Bytes::from_static(&STATIC[from..from + size]),
        }
    }
}

impl Shape {
    fn response(self, bytes: Bytes) -> Response<Body> {
        let (length, all) = (bytes.len(), bytes.clone());
        let chunks = (0..length).step_by(3_000).map(move |at| all.slice(at..length.min(at + 3_000)));
        let response = Response::builder();
        let stream = |chunks| Body::from_stream(tokio_stream::iter(chunks));
        match self {
            Self::Full => response.body(Body::from(bytes)),
            Self::Streamed => response.body(stream(chunks.map(Ok::<_, Infallible>))),
            Self::Announced => {
                response.header(CONTENT_LENGTH, length).body(stream(chunks.map(Ok::<_, Infallible>)))
            }
        }
        .expect("a response")
    }
}

/// Full and streamed, each with memory of its own.
fn own() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Shape::Full), Just(Shape::Streamed)].prop_map(|shape| Kind {
        shape,
        memory: Memory::Own,
        jobs: true,
    })
}

/// All there is.
fn any_kind() -> impl Strategy<Value = Kind> {
    let shapes = prop_oneof![Just(Shape::Full), Just(Shape::Streamed), Just(Shape::Announced)];
    let memory = prop_oneof![
        Just(Memory::Own),
        Just(Memory::Cached),
        Just(Memory::Static(0)),
        (0..10_000_usize).prop_map(Memory::Static),
    ];
    (shapes, memory, prop::bool::weighted(0.8)).prop_map(|(shape, memory, jobs)| Kind { shape, memory, jobs })
}

fn steps(kind: impl Strategy<Value = Kind>) -> impl Strategy<Value = Vec<Step>> {
    let sizes = prop_oneof![Just(0), 1..300_usize, 200..40_000_usize];
    let step = prop_oneof![
        5 => (sizes, kind).prop_map(|(size, kind)| Step::Request(size, kind)),
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
    let of = lines.iter().filter(|line| line.ends_with(delivery));
    of.map(|line| line.split(' ').next().and_then(|n| n.parse().ok()).expect("a number")).collect()
}

/// Serves one connection. The n-th response is of the n-th kind.
fn serve(by: By, pipe: &Pipe, log: &Log, kinds: Vec<Kind>) -> Runner {
    let runner = Runner::builder().state(log.clone()).build();
    let cached = Bytes::from(vec![b'x'; 50_000]);
    let route = async move |Path((n, size)): Path<(usize, usize)>| {
        let Kind { shape, memory, jobs } = kinds[n];
        if jobs {
            defer_fn(move |cx| async move {
                let response = cx.response().expect("a request's job");
                cx.state::<Log>()?.add(format!("{n} {} {:?}", response.bytes_sent(), response.delivery()));
                Ok(())
            });
        }
        shape.response(memory.bytes(size, &cached))
    };
    let app = Router::new().route("/{n}/{size}", get(route)).layer(DeferLayer::new(runner.clone()));
    let (connect, listener) = PipeListener::new();
    connect.send(pipe.clone()).expect("the listener is there");
    by.serve_on(listener, app, &runner).detach();
    runner
}

/// A client and the server's connection, and how far they have come.
struct Play<C> {
    client: C,
    pipe: Pipe,
    log: Log,
    runner: Runner,
    /// The sizes of the responses asked for.
    sizes: Vec<usize>,
    flushes_blocked: bool,
    /// The client has left, or nothing can be written.
    over: bool,
}

impl<C: Client> Play<C> {
    async fn begin(by: By, kinds: Vec<Kind>, per_write: usize, vectored: bool) -> Self {
        let (pipe, log) = (Pipe::new(per_write, vectored), Log::new());
        let runner = serve(by, &pipe, &log, kinds);
        let client = C::connect(&pipe).await;
        Self { client, pipe, log, runner, sizes: Vec::new(), flushes_blocked: false, over: false }
    }

    async fn step(&mut self, step: Step) {
        let Self { client, pipe, .. } = self;
        match step {
            Step::Request(size, _) if !self.over => {
                client.request(pipe, &format!("/{}/{size}", self.sizes.len())).await;
                self.sizes.push(size);
            }
            Step::Request(..) => {}
            Step::Allow(bytes) => pipe.allow(bytes),
            Step::BlockFlushes(block) => {
                pipe.block_flushes(block);
                self.flushes_blocked = block;
            }
            Step::Reset(n) => client.reset(n),
            Step::BreakWrites => {
                pipe.break_writes();
                self.over = true;
            }
            Step::Leave => {
                client.leave(pipe);
                self.over = true;
            }
        }
        settle(pipe, &self.log).await;
    }

    /// Lets everything through, leaves, and checks that each job has run once.
    async fn end(&mut self) -> Result<(), TestCaseError> {
        let Self { client, pipe, log, runner, .. } = self;
        pipe.block_flushes(false);
        pipe.allow(usize::MAX);
        settle(pipe, log).await;
        client.leave(pipe);
        settle(pipe, log).await;
        runner.idle().await;
        let (lines, stats) = (log.lines(), runner.stats());
        prop_assert_eq!(stats.deferred, lines.len() as u64);
        prop_assert_eq!(stats.succeeded, stats.deferred);
        let distinct: BTreeSet<_> = lines.iter().map(|line| line.split(' ').next()).collect();
        prop_assert_eq!(distinct.len(), lines.len(), "released twice: {:?}", lines);
        Ok(())
    }
}

/// Plays the steps, and checks after each that what was said to be sent is what was accepted in full.
async fn play<C: Client>(steps: Vec<Step>, per_write: usize, vectored: bool) -> Result<(), TestCaseError> {
    let kinds = kinds(&steps);
    let mut play = Play::<C>::begin(By::Defer, kinds.clone(), per_write, vectored).await;
    for step in steps {
        play.step(step).await;
        let sent = released(&play.log, "Sent");
        let ended = C::ended(&play.pipe.accepted());
        let ended: BTreeSet<usize> = ended.into_iter().filter(|n| kinds[*n].jobs).collect();
        prop_assert!(sent.is_subset(&ended), "sent {sent:?}, but accepted only {ended:?}");
        if !play.flushes_blocked && !play.over && (C::IS_EXACT || play.pipe.has_room()) {
            prop_assert_eq!(&sent, &ended, "accepted in full, but not said to be sent");
        }
    }
    play.end().await?;
    let accepted = play.pipe.accepted();
    prop_assert!(released(&play.log, "Sent").is_subset(&C::ended(&accepted)));
    let taken = C::taken(&accepted);
    for line in play.log.lines() {
        let [n, bytes, delivery] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let (n, bytes): (usize, usize) = (n.parse().expect("a number"), bytes.parse().expect("a number"));
        let taken = taken.get(&n).copied().unwrap_or(0);
        if delivery == "Sent" || C::IS_EXACT {
            prop_assert_eq!(bytes, taken, "{}", line);
        } else {
            prop_assert!(bytes <= taken, "{line}: {taken} were taken");
        }
        prop_assert!(delivery != "Sent" || bytes == play.sizes[n], "{line}, of {}", play.sizes[n]);
    }
    Ok(())
}

/// Plays the steps under `axum::serve`, and checks that nobody is said to have left who got everything.
async fn play_under_axum<C: Client>(
    steps: Vec<Step>,
    per_write: usize,
    vectored: bool,
) -> Result<(), TestCaseError> {
    let mut play = Play::<C>::begin(By::Axum, kinds(&steps), per_write, vectored).await;
    for step in steps {
        play.step(step).await;
    }
    play.end().await?;
    let (gone, ended) = (released(&play.log, "Disconnected"), C::ended(&play.pipe.accepted()));
    prop_assert!(gone.is_disjoint(&ended), "said to have left: {gone:?}, but had everything: {ended:?}");
    Ok(())
}

fn kinds(steps: &[Step]) -> Vec<Kind> {
    let kind = |step: &Step| if let Step::Request(_, kind) = step { Some(*kind) } else { None };
    steps.iter().filter_map(kind).collect()
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
    /// How many bytes of each response's body are among these.
    fn taken(bytes: &[u8]) -> BTreeMap<usize, usize>;
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

    fn taken(bytes: &[u8]) -> BTreeMap<usize, usize> {
        http1_bodies(bytes).into_iter().enumerate().collect()
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

    fn taken(bytes: &[u8]) -> BTreeMap<usize, usize> {
        http2_bodies(bytes).into_iter().map(|(stream, bytes)| (stream as usize / 2, bytes)).collect()
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(future)
}

const OWN: Kind = Kind { shape: Shape::Full, memory: Memory::Own, jobs: true };

/// The frame that is being written when the reset comes is written to its end, and the last byte is not in it.
#[test]
fn data_of_which_a_reset_leaves_a_byte_unwritten_are_not_sent() {
    use Step::{Allow, Request, Reset};
    let steps = [Request(16_385, OWN), Allow(39), Reset(0), Request(0, OWN), Request(0, OWN)];
    for vectored in [false, true] {
        block_on(play::<Http2>(steps.to_vec(), 1, vectored)).unwrap();
    }
}

#[test]
fn a_reset_of_one_response_says_nothing_of_another_of_the_same_bytes() {
    use Step::{Allow, Request, Reset};
    let kind = Kind { memory: Memory::Static(0), ..OWN };
    let steps =
        [Allow(1), Request(16_385, kind), Request(16_386, kind), Allow(16_512), Reset(1), Allow(40_000)];
    for vectored in [false, true] {
        block_on(play::<Http2>(steps.to_vec(), 1, vectored)).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn http1_jobs_are_released_once_and_never_before_the_last_byte(
        steps in steps(own()), per_write in 1..20_000_usize, vectored: bool,
    ) {
        block_on(play::<Http1>(steps, per_write, vectored))?;
    }

    #[test]
    fn http2_jobs_are_released_once_and_never_before_the_last_byte(
        steps in steps(own()), per_write in 1..20_000_usize, vectored: bool,
    ) {
        block_on(play::<Http2>(steps, per_write, vectored))?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn so_it_is_over_http1_where_responses_share_memory(
        steps in steps(any_kind()), per_write in 1..20_000_usize, vectored: bool,
    ) {
        block_on(play::<Http1>(steps, per_write, vectored))?;
    }

    #[test]
    fn so_it_is_over_http2_where_responses_share_memory(
        steps in steps(any_kind()), per_write in 1..20_000_usize, vectored: bool,
    ) {
        block_on(play::<Http2>(steps, per_write, vectored))?;
    }

    #[test]
    fn under_axum_s_server_no_http1_response_is_cut_off_that_was_accepted_in_full(
        steps in steps(any_kind()), per_write in 1..20_000_usize, vectored: bool,
    ) {
        block_on(play_under_axum::<Http1>(steps, per_write, vectored))?;
    }

    #[test]
    fn under_axum_s_server_no_http2_response_is_cut_off_that_was_accepted_in_full(
        steps in steps(any_kind()), per_write in 1..20_000_usize, vectored: bool,
    ) {
        block_on(play_under_axum::<Http2>(steps, per_write, vectored))?;
    }
}
