//! A case: a connection, the app that serves it, and the steps to play.

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, and 1.0.
    Http1,
    /// HTTP/2, at the level of frames.
    Http2,
}

/// One run of a server. A case has the same steps on every machine.
#[derive(Clone, Debug)]
pub struct Case {
    /// The protocol of the connection.
    pub protocol: Protocol,
    /// Limits on the connection's reads and writes.
    pub transport: Transport,
    /// The client's initial HTTP/2 settings.
    pub settings: Settings,
    /// The layers around the handlers.
    pub app: App,
    /// The steps, in order. Everything comes to rest between two steps.
    pub steps: Vec<Step>,
}

impl Case {
    /// Creates a case without faults, whose connection accepts nothing until a step allows it.
    pub fn new(protocol: Protocol, steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            protocol,
            transport: Transport {
                per_write: usize::MAX,
                per_read: usize::MAX,
                vectored: true,
                stutters: false,
            },
            settings: Settings { window: 65_535, max_frame: 16_384, acknowledges: true },
            app: App {
                outer: Outer::None,
                nested: false,
                max_running: None,
                max_pending: None,
                releases_after: false,
            },
            steps: steps.into_iter().collect(),
        }
    }

    /// The requests, in order.
    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        let exchange = |step: &Step| match step {
            Step::Request(exchange) => Some((**exchange).clone()),
            _ => None,
        };
        self.steps.iter().filter_map(exchange).collect()
    }
}

/// Limits on a connection's reads and writes.
#[derive(Clone, Debug)]
pub struct Transport {
    /// The most bytes that one write accepts.
    pub per_write: usize,
    /// The most bytes that one read returns.
    pub per_read: usize,
    /// Allows vectored writes.
    pub vectored: bool,
    /// Makes the next write and the next flush after each write pending once.
    pub stutters: bool,
}

/// The client's initial HTTP/2 settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// SETTINGS_INITIAL_WINDOW_SIZE.
    pub window: u32,
    /// SETTINGS_MAX_FRAME_SIZE.
    pub max_frame: u32,
    /// The client acknowledges the server's settings.
    pub acknowledges: bool,
}

/// The layers around the handlers.
#[derive(Clone, Debug)]
pub struct App {
    /// The layers outside the `DeferLayer`.
    pub outer: Outer,
    /// Adds a second `DeferLayer` outside of `outer`, which then defers too.
    pub nested: bool,
    /// The runner's `max_running`. `None` is the default.
    pub max_running: Option<usize>,
    /// The runner's `max_pending`. `None` is the default.
    pub max_pending: Option<usize>,
    /// Sets `release_after`, to less time than a [`Step::Wait`] takes.
    pub releases_after: bool,
}

/// A layer outside the `DeferLayer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outer {
    /// No layer.
    None,
    /// Passes everything through.
    Passes,
    /// Collects the body and answers with it, or with a 500 if that fails.
    Buffers,
    /// Answers with a body of this many bytes instead.
    Replaces(usize),
    /// Answers 500 when the handler panics.
    CatchesPanics,
}

/// A step. Requests are numbered from 0 within a case.
#[derive(Clone, Debug)]
pub enum Step {
    /// The client starts the next request.
    Request(Box<Exchange>),
    /// The client sends this many of its unsent bytes.
    Send(usize),
    /// The server may write this many more bytes.
    Allow(usize),
    /// Makes flushes pending (`true`), or lets them through.
    BlockFlushes(bool),
    /// Releases the handler, the body or the layer of the n-th request this many times.
    Feed(usize, usize),
    /// HTTP/2: RST_STREAM of the n-th request.
    Reset(usize),
    /// HTTP/2: WINDOW_UPDATE of the n-th request's stream, or of the connection.
    Window(Option<usize>, u32),
    /// HTTP/2: SETTINGS with another initial window.
    InitialWindow(u32),
    /// HTTP/2: SETTINGS with another maximum frame size.
    MaxFrame(u32),
    /// HTTP/2: PING.
    Ping,
    /// HTTP/2: PRIORITY of the n-th request's stream.
    Priority(usize),
    /// HTTP/2: a frame of an unknown type.
    Unknown,
    /// HTTP/2: GOAWAY. It limits the streams that the server opens, and the server never opens any.
    GoAway(u32),
    /// HTTP/2: a frame that clients must not send.
    Misuse(Misuse),
    /// The server is told to shut down gracefully.
    Shutdown,
    /// Lets more time pass than a response may take, or than a shutdown waits for connections.
    Wait,
    /// Writes and flushes fail from here on.
    BreakWrites,
    /// Reads fail from here on.
    BreakReads,
    /// The client closes its side.
    Leave,
    /// The connection is lost.
    Vanish,
}

/// Frames that an HTTP/2 client must not send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misuse {
    /// A WINDOW_UPDATE that raises the window of the n-th request's stream above the maximum.
    OverflowStream(usize),
    /// A WINDOW_UPDATE that raises the connection's window above the maximum.
    OverflowConnection,
    /// A WINDOW_UPDATE of zero on the n-th request's stream.
    ZeroWindow(usize),
    /// DATA on the n-th request's stream after the client has ended it.
    DataAfterEnd(usize),
    /// Bytes that are not a frame.
    Garbage,
}

/// A request and its answer.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The client's request.
    pub request: Request,
    /// The server's answer.
    pub answer: Answer,
}

impl Exchange {
    /// Creates a GET request whose handler defers a job and answers with this many bytes.
    pub fn of(size: usize) -> Self {
        let request = Request {
            method: Method::Get,
            old: false,
            close: None,
            body: RequestBody::None,
            expects: false,
            trailers: false,
            splits: false,
        };
        let answer = Answer {
            status: 200,
            shape: Shape::Full,
            memory: Memory::Own,
            size,
            chunk: 3_000,
            empty_chunks: false,
            tells_end: false,
            trailers: false,
            announced: None,
            pends: false,
            ends_late: false,
            fault: None,
            reads: Reads::Nothing,
            course: Course::Answers,
            jobs: 1,
            outcome: Outcome::Succeeds,
            conditional: false,
            stream_job: None,
            inner: None,
        };
        Self { request, answer }
    }
}

/// The client's request.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// `Connection: close` (`true`) or `keep-alive`. HTTP/1 only.
    pub old: bool,
    /// `Connection: close` or `keep-alive`, over HTTP/1.
    pub close: Option<bool>,
    /// The body.
    pub body: RequestBody,
    /// `Expect: 100-continue`. The client does not wait for it.
    pub expects: bool,
    /// `TE: trailers`.
    pub trailers: bool,
    /// HTTP/2: splits the head into HEADERS and CONTINUATION, and pads DATA.
    pub splits: bool,
}

/// A method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// POST.
    Post,
    /// An extended CONNECT over HTTP/2 (RFC 8441); a GET over HTTP/1.
    Connect,
}

/// The body of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestBody {
    /// No body.
    None,
    /// This many bytes, with a `Content-Length`.
    Length(usize),
    /// This many bytes, in chunks or DATA frames of at most the second size.
    Chunked(usize, usize),
    /// This many bytes of a body that is never completed.
    Unfinished(usize),
}

/// The server's answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The kind of body.
    pub shape: Shape,
    /// The memory that holds its bytes.
    pub memory: Memory,
    /// The body's length in bytes.
    pub size: usize,
    /// The largest chunk, in bytes.
    pub chunk: usize,
    /// Yields an empty chunk before each of the others.
    pub empty_chunks: bool,
    /// The body reports its end together with its last chunk.
    pub tells_end: bool,
    /// Ends the body with trailers.
    pub trailers: bool,
    /// The `Content-Length` of [`Shape::Announced`]. `None` is the size.
    pub announced: Option<usize>,
    /// Every chunk and the end wait for [`Step::Feed`].
    pub pends: bool,
    /// The end, or the fault in its place, waits for [`Step::Feed`].
    pub ends_late: bool,
    /// The fault of the body.
    pub fault: Option<Fault>,
    /// The part of the request's body that the handler reads.
    pub reads: Reads,
    /// The way the handler ends.
    pub course: Course,
    /// The number of jobs that the handler defers.
    pub jobs: usize,
    /// The result of each job.
    pub outcome: Outcome,
    /// Gives the jobs a condition, which the runner checks at the release.
    pub conditional: bool,
    /// The body defers a job before its n-th chunk.
    pub stream_job: Option<usize>,
    /// The use of the response to a request that the handler makes within this process.
    pub inner: Option<Inner>,
}

impl Answer {
    /// Returns whether the body yields chunk by chunk.
    pub(crate) fn is_streamed(&self) -> bool {
        self.shape != Shape::Full
    }

    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault.filter(|_| self.is_streamed())
    }

    /// Returns the number of bytes that the head announces.
    pub(crate) fn announces(&self) -> Option<usize> {
        match self.shape {
            Shape::Streamed => None,
            Shape::Announced => Some(self.announced.unwrap_or(self.size)),
            Shape::Full | Shape::Sized => Some(self.size),
        }
    }

    /// Returns whether the body ends before the announced length.
    pub(crate) fn is_short(&self) -> bool {
        let yields = match self.fault() {
            Some(Fault::Ends(at)) => at.saturating_mul(self.chunk).min(self.size),
            _ => self.size,
        };
        self.announces().is_some_and(|announced| announced > yields)
    }
}

/// The kind of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// All at once.
    Full,
    /// Chunk by chunk, of unknown length.
    Streamed,
    /// Chunk by chunk, of a length that the body reports.
    Sized,
    /// Chunk by chunk, with a `Content-Length` that the handler sets.
    Announced,
}

/// The memory that holds the bytes of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// A buffer of its own.
    Own,
    /// A buffer that all responses share.
    Cached,
    /// A static, from this offset on.
    Static(usize),
}

/// The fault of a body once it has yielded this many chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It yields an error.
    Fails(usize),
    /// It panics.
    Panics(usize),
    /// It ends, whatever length it has announced.
    Ends(usize),
}

/// The part of a request's body that a handler reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// Nothing. Drops the body at once.
    Nothing,
    /// The first frame.
    First,
    /// All of it.
    All,
}

/// The way a handler ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// It answers.
    Answers,
    /// It answers after a [`Step::Feed`].
    Waits,
    /// It never answers. After a [`Step::Feed`] the outermost layer drops it and answers 503.
    TimesOut,
    /// It panics.
    Panics,
}

/// The result of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It succeeds.
    Succeeds,
    /// It fails.
    Fails,
    /// It panics.
    Panics,
}

/// The use of the response to a request that a handler makes within this process. That request defers a job too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inner {
    /// Reads it.
    Reads,
    /// Drops it.
    Drops,
    /// Answers with its body.
    Forwards,
}
