//! The client's end of a connection: the bytes it has yet to send, and the state it keeps.

use std::collections::{BTreeMap, BTreeSet};

use defer_tests::Pipe;

use crate::{
    case::{Case, Exchange, Misuse, Protocol, RequestBody, Step},
    counts::Counts,
    http1, http2,
};

pub(crate) struct Client {
    protocol: Protocol,
    pipe: Pipe,
    /// The bytes that are not sent yet.
    held: Vec<u8>,
    /// The number of requests started so far.
    pub(crate) requests: usize,
    /// An HTTP/1 request has a body that never ends, so no other can follow.
    stuck: bool,
    /// The client did something that may end the connection before its responses.
    pub(crate) broke: bool,
    /// The connection can no longer be read or written.
    pub(crate) over: bool,
    /// The requests that the client has reset.
    pub(crate) withdrawn: BTreeSet<usize>,
    windows: Windows,
    acknowledges: bool,
    acknowledged: usize,
    ponged: usize,
}

/// The windows that the client has granted.
struct Windows {
    initial: u32,
    connection: u64,
    streams: BTreeMap<u32, u64>,
}

impl Client {
    pub(crate) fn connect(case: &Case, pipe: &Pipe) -> Self {
        let mut client = Self {
            protocol: case.protocol,
            pipe: pipe.clone(),
            held: Vec::new(),
            requests: 0,
            stuck: false,
            broke: false,
            over: false,
            withdrawn: BTreeSet::new(),
            windows: Windows { initial: case.settings.window, connection: 65_535, streams: BTreeMap::new() },
            acknowledges: case.settings.acknowledges,
            acknowledged: 0,
            ponged: 0,
        };
        if case.protocol == Protocol::Http2 {
            client.say(&http2::preface(&case.settings));
        }
        client
    }

    /// Sends these bytes: at once, or after those that are held back.
    fn say(&mut self, bytes: &[u8]) {
        let at_once = self.held.is_empty();
        self.held.extend_from_slice(bytes);
        if at_once {
            self.send(usize::MAX);
        }
    }

    /// Sends this many of the bytes that are held back.
    pub(crate) fn send(&mut self, bytes: usize) {
        let some = bytes.min(self.held.len());
        self.pipe.send(&self.held[..some]);
        self.held.drain(..some);
    }

    /// Starts the next request. Returns false if none can follow.
    pub(crate) fn request(&mut self, exchange: &Exchange) -> bool {
        if self.over || self.stuck {
            return false;
        }
        let n = self.requests;
        self.requests += 1;
        let bytes = match self.protocol {
            Protocol::Http1 => {
                self.stuck = matches!(exchange.request.body, RequestBody::Unfinished(_));
                http1::request(n, &exchange.request)
            }
            Protocol::Http2 => http2::request(n, &exchange.request),
        };
        self.held.extend_from_slice(&bytes);
        true
    }

    /// Plays a step that only an HTTP/2 client can take.
    pub(crate) fn speak(&mut self, step: &Step, counts: &mut Counts) {
        if self.protocol != Protocol::Http2 {
            return;
        }
        let requested = |n: usize| (n < self.requests).then(|| http2::stream(n));
        let bytes = match *step {
            Step::Reset(n) => {
                let Some(stream) = requested(n) else { return };
                self.withdrawn.insert(n);
                counts.resets += 1;
                http2::reset(stream)
            }
            Step::Window(None, by) => {
                counts.window_updates += 1;
                self.windows.connection += u64::from(by);
                http2::window_update(0, by)
            }
            Step::Window(Some(n), by) => {
                let Some(stream) = requested(n) else { return };
                counts.window_updates += 1;
                let granted = self.windows.streams.entry(stream).or_default();
                *granted += u64::from(by);
                if u64::from(self.windows.initial) + *granted > u64::from(http2::MAX_WINDOW) {
                    self.withdrawn.insert(n);
                }
                http2::window_update(stream, by)
            }
            Step::InitialWindow(window) => {
                self.windows.initial = window;
                let most = self.windows.streams.values().max().copied().unwrap_or(0);
                self.broke |= u64::from(window) + most > u64::from(http2::MAX_WINDOW);
                http2::initial_window(window)
            }
            Step::MaxFrame(size) => http2::max_frame(size),
            Step::Ping => http2::ping(false),
            Step::Priority(n) => {
                let Some(stream) = requested(n) else { return };
                http2::priority(stream)
            }
            Step::Unknown => http2::unknown(),
            Step::GoAway(last) => {
                self.broke = true;
                http2::goaway(last)
            }
            Step::Misuse(misuse) => {
                let Some(bytes) = misuse_by(misuse, requested) else { return };
                self.broke = true;
                counts.misuses += 1;
                bytes
            }
            _ => return,
        };
        self.say(&bytes);
    }

    /// Reacts to what the server has written.
    pub(crate) fn react(&mut self, frames: &http2::Frames) {
        while self.acknowledges && self.acknowledged < frames.settings {
            self.acknowledged += 1;
            self.say(&http2::settings_ack());
        }
        while self.ponged < frames.pings {
            self.ponged += 1;
            self.say(&http2::ping(true));
        }
    }

    /// Sends everything that is held back, and opens every window wide.
    pub(crate) fn open(&mut self, frames: &http2::Frames) {
        const WIDE: u64 = 1 << 28;
        self.send(usize::MAX);
        if self.protocol != Protocol::Http2 {
            return;
        }
        let all: u64 = frames.streams.values().map(|written| written.body as u64).sum();
        let open = |stream, granted: u64, used: u64| {
            if let Some(by) = WIDE.checked_sub(granted.saturating_sub(used)).filter(|by| *by > 0) {
                self.pipe.send(&http2::window_update(stream, by as u32));
            }
        };
        open(0, self.windows.connection, all);
        for n in (0..self.requests).filter(|n| !self.withdrawn.contains(n)) {
            let stream = http2::stream(n);
            let granted = self.windows.streams.get(&stream).copied().unwrap_or(0);
            let used = frames.streams.get(&stream).map_or(0, |written| written.body as u64);
            open(stream, u64::from(self.windows.initial) + granted, used);
        }
    }
}

fn misuse_by(misuse: Misuse, stream: impl Fn(usize) -> Option<u32>) -> Option<Vec<u8>> {
    Some(match misuse {
        Misuse::OverflowStream(n) => {
            let by = http2::window_update(stream(n)?, http2::MAX_WINDOW);
            [&*by, &*by].concat()
        }
        Misuse::OverflowConnection => http2::window_update(0, http2::MAX_WINDOW),
        Misuse::ZeroWindow(n) => http2::window_update(stream(n)?, 0),
        Misuse::DataAfterEnd(n) => http2::data(stream(n)?, 10),
        Misuse::Garbage => b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    })
}
