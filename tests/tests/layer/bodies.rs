//! Jobs and the body of their response: none starts before its end, and a body may defer jobs too.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::Body,
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use defer_tests::{By, Feed, Log, Note, NoteEnding, Reply, Tcp, runner};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;

use crate::{hello, other};

/// A body that defers jobs itself.
#[derive(Default)]
struct Deferring {
    frames: VecDeque<Frame<Bytes>>,
    length: Option<u64>,
    /// Defers a job with each frame, and with the end if the end needs its own poll.
    when_polled: bool,
    when_dropped: bool,
    /// Reports its end together with its last frame.
    knows_its_end: bool,
}

impl Deferring {
    fn of(data: &[&'static str]) -> Self {
        let mut body = Self::default();
        body.frames.extend(data.iter().map(|data| Frame::data(Bytes::from_static(data.as_bytes()))));
        body
    }

    fn defers_when_polled(self) -> Self {
        self.with(|body| body.when_polled = true)
    }

    fn defers_when_dropped(self) -> Self {
        self.with(|body| body.when_dropped = true)
    }

    fn knows_its_end(self) -> Self {
        self.with(|body| body.knows_its_end = true)
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn with_trailers(mut self) -> Self {
        let trailers = HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("7"))]);
        self.frames.push_back(Frame::trailers(trailers));
        self
    }
}

impl HttpBody for Deferring {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = self.frames.pop_front();
        if self.when_polled {
            Note::defer(match &frame {
                Some(frame) if frame.is_data() => "data",
                Some(_) => "trailers",
                None => "end",
            });
        }
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.knows_its_end && self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Deferring {
    fn drop(&mut self) {
        if self.when_dropped {
            NoteEnding::defer();
        }
    }
}

/// Returns the reply of a handler that returns this body, perhaps after deferring a job, and what the jobs wrote.
async fn reply_and_log(
    by: By,
    job_before: bool,
    body: fn() -> Deferring,
    lines: usize,
) -> (Reply, Vec<String>) {
    let log = Log::new();
    let handler = async move || {
        if job_before {
            Note::defer("handler");
        }
        Response::new(Body::new(body()))
    };
    let runner = runner(&log);
    let server = by.serve(Router::new().route("/", get(handler)), &runner).await;
    let reply = Tcp::connect(server.addr).await.get("/").await;
    log.wait_for(lines).await;
    // By now a superfluous job would have run.
    runner.idle().await;
    (reply, log.lines())
}

#[tokio::test]
async fn no_job_starts_while_the_body_is_open() {
    for by in By::BOTH {
        let (log, (feed, body)) = (Log::new(), Feed::new());
        let handler = async move || {
            Note::defer("job");
            NoteEnding::defer();
            body.take()
        };
        let routes = Router::new().route("/", get(handler)).route("/other", get(other));
        let server = by.serve(routes, &runner(&log)).await;
        let mut client = Tcp::connect(server.addr).await;
        feed.send("hello");
        client.send_get("/").await;
        client.read_until("hello").await;
        log.add("the client has what there is");
        // A whole request and its job: long enough for a job that does not wait.
        Tcp::connect(server.addr).await.get("/other").await;
        log.wait_for(2).await;
        feed.send(" world");
        drop(feed);
        assert_eq!(client.reply("GET").await.text(), "hello world");
        let whole = format!("{:?} 200 11", by.whole());
        let expected = ["the client has what there is", "other", "job", &whole];
        assert_eq!(log.wait_for(4).await, expected, "{by:?}");
    }
}

#[tokio::test]
async fn jobs_deferred_while_the_body_streams_follow_those_of_the_handler() {
    for by in By::BOTH {
        let body = || Deferring::of(&["one ", "two"]).defers_when_polled();
        let (reply, log) = reply_and_log(by, true, body, 4).await;
        assert_eq!(reply.text(), "one two", "{by:?}");
        assert_eq!(log, ["handler", "data", "data", "end"], "{by:?}");
    }
}

#[tokio::test]
async fn jobs_deferred_while_the_body_streams_need_none_of_the_handler() {
    for by in By::BOTH {
        let body = || Deferring::of(&["one ", "two"]).defers_when_polled();
        let (reply, log) = reply_and_log(by, false, body, 3).await;
        assert_eq!(reply.text(), "one two", "{by:?}");
        assert_eq!(log, ["data", "data", "end"], "{by:?}");
    }
}

#[tokio::test]
async fn no_job_deferred_by_a_body_starts_while_it_is_open() {
    use tokio_stream::{StreamExt, wrappers::UnboundedReceiverStream};
    for by in By::BOTH {
        let log = Log::new();
        let (chunks, fed) = tokio::sync::mpsc::unbounded_channel::<&'static str>();
        let fed = std::sync::Arc::new(std::sync::Mutex::new(Some(fed)));
        let handler = async move || {
            let fed = fed.lock().expect("no panic").take().expect("one request");
            Body::from_stream(UnboundedReceiverStream::new(fed).map(|chunk| {
                Note::defer(chunk);
                Ok::<_, Infallible>(chunk)
            }))
        };
        let routes = Router::new().route("/", get(handler)).route("/other", get(other));
        let server = by.serve(routes, &runner(&log)).await;
        let mut client = Tcp::connect(server.addr).await;
        client.send_get("/").await;
        chunks.send("one").unwrap();
        client.read_until("one").await;
        Tcp::connect(server.addr).await.get("/other").await;
        log.wait_for(1).await;
        chunks.send("two").unwrap();
        drop(chunks);
        assert_eq!(client.reply("GET").await.text(), "onetwo");
        assert_eq!(log.wait_for(3).await, ["other", "one", "two"], "{by:?}");
    }
}

#[tokio::test]
async fn a_body_that_ends_with_trailers_may_defer_with_them() {
    for by in By::BOTH {
        for job_before in [false, true] {
            let body = || Deferring::of(&["one"]).with_trailers().defers_when_polled();
            let (reply, log) = reply_and_log(by, job_before, body, 2 + usize::from(job_before)).await;
            assert_eq!(reply.text(), "one", "{by:?}");
            let expected = ["handler", "data", "trailers"];
            assert_eq!(log, expected[usize::from(!job_before)..], "{by:?}");
        }
    }
}

#[tokio::test]
async fn a_long_body_of_known_length_may_defer() {
    const LENGTH: usize = 16 * 1024 + 1;
    static TEXT: [u8; LENGTH] = [b'x'; LENGTH];
    fn long() -> Deferring {
        let text = std::str::from_utf8(&TEXT).expect("ASCII");
        Deferring::of(&[text]).defers_when_polled().with(|body| body.length = Some(LENGTH as u64))
    }
    for by in By::BOTH {
        for body in [long, || long().knows_its_end()] {
            let (reply, log) = reply_and_log(by, false, body, 1).await;
            assert_eq!(reply.body.len(), LENGTH, "{by:?}");
            // The server stops polling once it has the announced length.
            assert_eq!(log, ["data"], "{by:?}");
        }
    }
}

#[tokio::test]
async fn a_body_may_defer_when_it_is_dropped() {
    for by in By::BOTH {
        for job_before in [false, true] {
            for body in [
                || Deferring::of(&["one"]).defers_when_dropped(),
                || Deferring::of(&["one"]).knows_its_end().defers_when_dropped(),
                || Deferring::of(&["one"]).with_trailers().defers_when_dropped(),
            ] {
                let (reply, log) = reply_and_log(by, job_before, body, 1 + usize::from(job_before)).await;
                assert_eq!(reply.text(), "one", "{by:?}");
                let whole = format!("{:?} 200 3", by.whole());
                assert_eq!(log, ["handler", &whole][usize::from(!job_before)..], "{by:?} {job_before}");
            }
        }
    }
}

#[tokio::test]
async fn a_body_that_fails_or_is_left_may_defer_when_it_is_dropped() {
    /// Defers when it is dropped.
    struct Defers;
    impl Drop for Defers {
        fn drop(&mut self) {
            NoteEnding::defer();
        }
    }
    for by in By::BOTH {
        for job_before in [false, true] {
            for fails in [true, false] {
                let (log, (feed, body)) = (Log::new(), Feed::new());
                let handler = async move || {
                    if job_before {
                        NoteEnding::defer();
                    }
                    let defers = Defers;
                    Body::new(body.take().map_frame(move |frame| {
                        let _ = &defers;
                        frame
                    }))
                };
                let server = by.serve(Router::new().route("/", get(handler)), &runner(&log)).await;
                let mut client = Tcp::connect(server.addr).await;
                feed.send("hello");
                client.send_get("/").await;
                client.read_until("hello").await;
                let ending = if fails {
                    feed.fail();
                    "Failed 200 5"
                } else {
                    drop(client);
                    "Disconnected 200 5"
                };
                let jobs = 1 + usize::from(job_before);
                assert_eq!(log.wait_for(jobs).await, vec![ending; jobs], "{by:?} {job_before}");
            }
        }
    }
}

#[tokio::test]
async fn a_response_to_head_runs_its_jobs_once() {
    for by in By::BOTH {
        let log = Log::new();
        let runner = runner(&log);
        let server = by.serve(Router::new().route("/", get(hello)), &runner).await;
        let mut client = Tcp::connect(server.addr).await;
        for round in 1..=2 {
            client.send("HEAD / HTTP/1.1\r\nhost: test\r\n\r\n").await;
            let reply = client.reply("HEAD").await;
            assert!(reply.head.contains("content-length: 5"), "{by:?} {}", reply.head);
            log.wait_for(round).await;
        }
        runner.idle().await;
        assert_eq!(log.lines(), vec![format!("{:?} 200 0", by.whole()); 2], "{by:?}");
    }
}

#[tokio::test]
async fn a_response_without_content_runs_its_jobs_once() {
    async fn empty(status: StatusCode) -> Response {
        NoteEnding::defer();
        status.into_response()
    }
    // The server sends no body for these, whatever the handler returns.
    async fn ignored(status: StatusCode) -> Response {
        NoteEnding::defer();
        (status, Body::new(Deferring::of(&["ignored"]))).into_response()
    }
    for status in [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED] {
        for by in By::BOTH {
            let log = Log::new();
            let routes = Router::new()
                .route("/empty", get(move || empty(status)))
                .route("/ignored", get(move || ignored(status)));
            let runner = runner(&log);
            let server = by.serve(routes, &runner).await;
            let mut client = Tcp::connect(server.addr).await;
            assert_eq!(client.get("/empty").await.status, status);
            log.wait_for(1).await;
            assert_eq!(client.get("/ignored").await.status, status);
            log.wait_for(2).await;
            runner.idle().await;
            let whole = format!("{:?} {} 0", by.whole(), status.as_u16());
            assert_eq!(log.lines(), vec![whole; 2], "{by:?}");
        }
    }
}

#[tokio::test]
async fn an_empty_body_runs_its_jobs_once() {
    for by in By::BOTH {
        let log = Log::new();
        let runner = runner(&log);
        let handler = async || {
            NoteEnding::defer();
        };
        let server = by.serve(Router::new().route("/", get(handler)), &runner).await;
        Tcp::connect(server.addr).await.get("/").await;
        log.wait_for(1).await;
        runner.idle().await;
        assert_eq!(log.lines(), [format!("{:?} 200 0", by.whole())], "{by:?}");
    }
}
