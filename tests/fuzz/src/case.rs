//! A case: a connection, what is served on it, and the steps that are played.

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, and 1.0.
    Http1,
    /// HTTP/2, at the level of frames.
    Http2,
}

/// One run of a server. Equal cases have equal steps, on every machine.
#[derive(Clone, Debug)]
pub struct Case {
    /// The protocol of the connection.
    pub protocol: Protocol,
    /// How the connection takes bytes.
    pub transport: Transport,
    /// How the client begins an HTTP/2 connection.
    pub settings: Settings,
    /// The layers around the handlers.
    pub app: App,
    /// The steps, one after another. Between two steps everything comes to rest.
    pub steps: Vec<Step>,
}

impl Case {
    /// A connection of this protocol over which everything goes as it should, and that takes nothing until it is allowed to.
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

/// How a connection takes bytes.
#[derive(Clone, Debug)]
pub struct Transport {
    /// How much one write takes at most.
    pub per_write: usize,
    /// How much one read gives at most.
    pub per_read: usize,
    /// Whether writes may be vectored.
    pub vectored: bool,
    /// Whether the next write and flush after each write are pending once.
    pub stutters: bool,
}

/// How the client begins an HTTP/2 connection.
#[derive(Clone, Debug)]
pub struct Settings {
    /// SETTINGS_INITIAL_WINDOW_SIZE.
    pub window: u32,
    /// SETTINGS_MAX_FRAME_SIZE.
    pub max_frame: u32,
    /// Whether the client acknowledges the server's settings.
    pub acknowledges: bool,
}

/// The layers around the handlers.
#[derive(Clone, Debug)]
pub struct App {
    /// The layers outside the `DeferLayer`.
    pub outer: Outer,
    /// Whether there is a second `DeferLayer` outside of that, and `outer` defers too.
    pub nested: bool,
    /// The runner's `max_running`, if it is not the default.
    pub max_running: Option<usize>,
    /// The runner's `max_pending`, if it is not the default.
    pub max_pending: Option<usize>,
    /// Whether jobs are released after a [`Step::Wait`] at the latest.
    pub releases_after: bool,
}

/// A layer outside the `DeferLayer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outer {
    /// There is none.
    None,
    /// Passes everything on.
    Passes,
    /// Reads the whole body and answers with that, or with a 500 if that fails.
    Buffers,
    /// Answers with a body of this many bytes instead.
    Replaces(usize),
    /// Answers for a handler that panics.
    CatchesPanics,
}

/// The next step. The n-th request is counted among those of the case, from 0.
#[derive(Clone, Debug)]
pub enum Step {
    /// The client has a request to send.
    Request(Box<Exchange>),
    /// The client sends this much of what it has.
    Send(usize),
    /// The server may write this many more bytes.
    Allow(usize),
    /// Flushes are pending (`true`), or go through.
    BlockFlushes(bool),
    /// Releases the handler, the body or the layer of the n-th request, this many times.
    Feed(usize, usize),
    /// HTTP/2: RST_STREAM of the n-th request.
    Reset(usize),
    /// HTTP/2: WINDOW_UPDATE of the n-th request's stream, or of the connection.
    Window(Option<usize>, u32),
    /// HTTP/2: SETTINGS with another initial window.
    InitialWindow(u32),
    /// HTTP/2: SETTINGS with another maximum of a frame's size.
    MaxFrame(u32),
    /// HTTP/2: PING.
    Ping,
    /// HTTP/2: PRIORITY of the n-th request's stream.
    Priority(usize),
    /// HTTP/2: a frame of a type that nobody knows.
    Unknown,
    /// HTTP/2: GOAWAY. The client takes no stream above the n-th that the server opens, and the server opens none.
    GoAway(u32),
    /// HTTP/2: what no client may send.
    Misuse(Misuse),
    /// The server is told to shut down gracefully.
    Shutdown,
    /// More time passes than a response may take, or a shutdown waits for connections.
    Wait,
    /// Writes and flushes fail from here on.
    BreakWrites,
    /// Reads fail from here on.
    BreakReads,
    /// The client sends no more.
    Leave,
    /// The connection is lost.
    Vanish,
}

/// Frames that no HTTP/2 client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misuse {
    /// A window of the n-th request's stream above the maximum.
    OverflowStream(usize),
    /// A window of the connection above the maximum.
    OverflowConnection,
    /// A WINDOW_UPDATE by nothing, of the n-th request's stream.
    ZeroWindow(usize),
    /// DATA on the n-th request's stream, which the client has ended.
    DataAfterEnd(usize),
    /// Bytes that are no frame.
    Garbage,
}

/// A request, and how it is answered.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The client's request.
    pub request: Request,
    /// The server's answer.
    pub answer: Answer,
}

impl Exchange {
    /// A GET request that is answered with so many bytes, and defers a job.
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
    /// HTTP/1.0, if it is HTTP/1.
    pub old: bool,
    /// `Connection: close` or `keep-alive`, over HTTP/1.
    pub close: Option<bool>,
    /// The body.
    pub body: RequestBody,
    /// `Expect: 100-continue`. The client does not wait for it.
    pub expects: bool,
    /// `TE: trailers`.
    pub trailers: bool,
    /// HTTP/2: the head is in a HEADERS and a CONTINUATION frame, and DATA are padded.
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
    /// An upgrade over HTTP/2 (RFC 8441); over HTTP/1, GET.
    Connect,
}

/// The body of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestBody {
    /// There is none.
    None,
    /// So many bytes, with a `Content-Length`.
    Length(usize),
    /// So many bytes, in chunks or DATA frames of at most the second size.
    Chunked(usize, usize),
    /// So many bytes, and the rest never comes.
    Unfinished(usize),
}

/// The server's answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The kind of body.
    pub shape: Shape,
    /// Where its bytes lie.
    pub memory: Memory,
    /// How many they are.
    pub size: usize,
    /// How many are in a chunk at most.
    pub chunk: usize,
    /// Whether an empty chunk comes before each other.
    pub empty_chunks: bool,
    /// Whether the body tells with its last chunk that it is at its end.
    pub tells_end: bool,
    /// Whether there are trailers.
    pub trailers: bool,
    /// The `Content-Length` of [`Shape::Announced`], if it is not the size.
    pub announced: Option<usize>,
    /// Whether each chunk, and the end, waits for [`Step::Feed`].
    pub pends: bool,
    /// Whether the end does, or what fails at it.
    pub ends_late: bool,
    /// The fault of the body.
    pub fault: Option<Fault>,
    /// How much of the request's body the handler reads.
    pub reads: Reads,
    /// How the handler ends.
    pub course: Course,
    /// How many jobs the handler defers.
    pub jobs: usize,
    /// How the jobs end.
    pub outcome: Outcome,
    /// Whether jobs have a condition, which is asked at the release.
    pub conditional: bool,
    /// The body defers a job before its n-th chunk.
    pub stream_job: Option<usize>,
    /// How the handler uses the response of a request that it makes in this process.
    pub inner: Option<Inner>,
}

impl Answer {
    /// Whether the body is polled chunk by chunk.
    pub(crate) fn is_streamed(&self) -> bool {
        self.shape != Shape::Full
    }

    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault.filter(|_| self.is_streamed())
    }

    /// How many bytes the head announces.
    pub(crate) fn announces(&self) -> Option<usize> {
        match self.shape {
            Shape::Streamed => None,
            Shape::Announced => Some(self.announced.unwrap_or(self.size)),
            Shape::Full | Shape::Sized => Some(self.size),
        }
    }

    /// Whether the body ends before the length that was announced.
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
    /// Chunk by chunk, of a length that it knows.
    Sized,
    /// Chunk by chunk, with a `Content-Length` that the handler sets.
    Announced,
}

/// Where the bytes of a body lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Nobody else has them.
    Own,
    /// In one buffer that all have.
    Cached,
    /// In a static, from here on.
    Static(usize),
}

/// The fault of a body once it has yielded this many chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It yields an error.
    Fails(usize),
    /// It panics.
    Panics(usize),
    /// It ends, whatever it has announced.
    Ends(usize),
}

/// How much of a request's body a handler reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// Nothing; and it drops the body at once.
    Nothing,
    /// The first frame.
    First,
    /// All of it.
    All,
}

/// How a handler ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// It answers.
    Answers,
    /// It answers after a [`Step::Feed`].
    Waits,
    /// It never answers. After a [`Step::Feed`] a layer outside of everything drops it, and answers 503.
    TimesOut,
    /// It panics.
    Panics,
}

/// How a job ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It succeeds.
    Succeeds,
    /// It fails.
    Fails,
    /// It panics.
    Panics,
}

/// How a handler uses the response of a request that it makes in this process, which defers a job too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inner {
    /// Reads it.
    Reads,
    /// Drops it.
    Drops,
    /// Answers with its body.
    Forwards,
}
