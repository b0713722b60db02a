//! HTTP/2 (RFC 9113): writes a client's frames, and parses the server's.

use std::collections::BTreeMap;

use crate::case::{Method, Request, RequestBody, Settings};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;

/// The largest window.
pub(crate) const MAX_WINDOW: u32 = (1 << 31) - 1;

/// Returns the stream of the n-th request.
pub(crate) fn stream(n: usize) -> u32 {
    2 * n as u32 + 1
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Encodes the client's connection preface.
pub(crate) fn preface(settings: &Settings) -> Vec<u8> {
    const INITIAL_WINDOW_SIZE: u16 = 4;
    const MAX_FRAME_SIZE: u16 = 5;
    let values = [setting(INITIAL_WINDOW_SIZE, settings.window), setting(MAX_FRAME_SIZE, settings.max_frame)];
    let settings = frame(SETTINGS, 0, 0, &values.concat());
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &settings].concat()
}

fn setting(name: u16, value: u32) -> Vec<u8> {
    [name.to_be_bytes().as_slice(), &value.to_be_bytes()].concat()
}

pub(crate) fn initial_window(window: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &setting(4, window))
}

pub(crate) fn max_frame(size: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &setting(5, size))
}

pub(crate) fn settings_ack() -> Vec<u8> {
    frame(SETTINGS, ACK, 0, &[])
}

pub(crate) fn ping(ack: bool) -> Vec<u8> {
    frame(PING, if ack { ACK } else { 0 }, 0, b"12345678")
}

/// Returns the frame that opens the window of a stream, or of the connection (0).
pub(crate) fn window_update(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

pub(crate) fn reset(stream: u32) -> Vec<u8> {
    const CANCEL: u32 = 8;
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

/// Makes a stream depend on no other, with a weight of 16.
pub(crate) fn priority(stream: u32) -> Vec<u8> {
    frame(PRIORITY, 0, stream, &[0, 0, 0, 0, 15])
}

pub(crate) fn goaway(last_stream: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last_stream.to_be_bytes(), 0_u32.to_be_bytes()].concat())
}

/// Encodes a frame of an unknown type.
pub(crate) fn unknown() -> Vec<u8> {
    frame(0xbe, 0xff, 0, b"what?")
}

pub(crate) fn data(stream: u32, bytes: usize) -> Vec<u8> {
    frame(DATA, 0, stream, &vec![b'b'; bytes])
}

/// Encodes the n-th request.
pub(crate) fn request(n: usize, request: &Request) -> Vec<u8> {
    let stream = stream(n);
    let head = head(n, request);
    let ends =
        if request.body == RequestBody::None && request.method != Method::Connect { END_STREAM } else { 0 };
    let mut frames = if request.splits {
        let (first, rest) = head.split_at(head.len() / 2);
        let padded = [&[3], first, &[0; 3]].concat();
        [frame(HEADERS, ends | PADDED, stream, &padded), frame(CONTINUATION, END_HEADERS, stream, rest)]
            .concat()
    } else {
        frame(HEADERS, ends | END_HEADERS, stream, &head)
    };
    let (size, chunk, ends) = match request.body {
        RequestBody::None => return frames,
        RequestBody::Length(size) => (size, 16_000, true),
        RequestBody::Chunked(size, chunk) => (size, chunk, true),
        RequestBody::Unfinished(size) => (size, 16_000, false),
    };
    for at in (0..size).step_by(chunk) {
        let some = vec![b'b'; chunk.min(size - at)];
        frames.extend(if request.splits {
            frame(DATA, PADDED, stream, &[&[5], &*some, &[0; 5]].concat())
        } else {
            frame(DATA, 0, stream, &some)
        });
    }
    if ends {
        frames.extend(frame(DATA, END_STREAM, stream, &[]));
    }
    frames
}

/// Encodes the fields without compression, except for names from the static table (RFC 7541, appendix A).
fn head(n: usize, request: &Request) -> Vec<u8> {
    const AUTHORITY: u8 = 1;
    const METHOD: u8 = 2;
    const PATH: u8 = 4;
    const SCHEME: u8 = 6;
    fn text(text: &str) -> Vec<u8> {
        [&[text.len() as u8], text.as_bytes()].concat()
    }
    let known = |name: u8, value: &str| [&[name], &*text(value)].concat();
    let field = |name: &str, value: &str| [&[0], &*text(name), &text(value)].concat();
    let method = match request.method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Connect => "CONNECT",
    };
    let mut head =
        [known(METHOD, method), known(SCHEME, "http"), known(PATH, &format!("/{n}")), known(AUTHORITY, "t")]
            .concat();
    if request.method == Method::Connect {
        head.extend(field(":protocol", "websocket"));
    }
    if let RequestBody::Length(size) = request.body {
        head.extend(field("content-length", &size.to_string()));
    }
    if request.expects {
        head.extend(field("expect", "100-continue"));
    }
    if request.trailers {
        head.extend(field("te", "trailers"));
    }
    head
}

/// The server's frames on one stream.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// The number of DATA bytes.
    pub(crate) body: usize,
    /// The offset of the end of the last whole DATA frame.
    pub(crate) data_end: Option<usize>,
    /// The end of the head and of each whole DATA frame, each with the number of DATA bytes up to there.
    ends: Vec<(usize, usize)>,
    /// The offset after the frame that ends the stream.
    pub(crate) end: Option<usize>,
    /// The server has reset it.
    pub(crate) reset: bool,
}

impl Written {
    /// Returns the end of the frame that completes this many bytes.
    pub(crate) fn end_of(&self, bytes: usize) -> Option<usize> {
        self.ends.iter().find(|(_, body)| *body >= bytes).map(|(end, _)| *end)
    }
}

/// The server's frames.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    pub(crate) streams: BTreeMap<u32, Written>,
    /// The number of SETTINGS frames, without acknowledgements.
    pub(crate) settings: usize,
    /// The number of PING frames, without acknowledgements.
    pub(crate) pings: usize,
    /// The number of GOAWAY frames with an error.
    pub(crate) errors: usize,
}

/// Parses the frames.
///
/// # Errors
///
/// Returns a description of a frame that a server must not send.
pub(crate) fn frames(bytes: &[u8]) -> Result<Frames, String> {
    let mut frames = Frames::default();
    let mut at = 0;
    while let Some(head) = bytes.get(at..at + 9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let (start, end) = (at + 9, at + 9 + length);
        let whole = end <= bytes.len();
        if kind > CONTINUATION {
            return Err(format!("no frame at {at}: {head:?}"));
        }
        match kind {
            SETTINGS if whole && flags & ACK == 0 => frames.settings += 1,
            PING if whole && flags & ACK == 0 => frames.pings += 1,
            GOAWAY if bytes.get(start + 4..start + 8).is_some_and(|code| code != [0; 4]) => {
                frames.errors += 1
            }
            DATA | HEADERS | RST_STREAM => {
                let written = frames.streams.entry(stream).or_default();
                if kind == RST_STREAM {
                    written.reset = true;
                } else if written.end.is_some() {
                    return Err(format!("stream {stream} goes on after its end, at {at}"));
                }
                if kind == DATA {
                    written.body += end.min(bytes.len()) - start;
                }
                if kind == DATA && whole {
                    written.data_end = Some(end);
                }
                if (kind == DATA || kind == HEADERS) && whole {
                    written.ends.push((end, written.body));
                }
                if kind != RST_STREAM && flags & END_STREAM != 0 && whole {
                    written.end = Some(end);
                }
            }
            _ => {}
        }
        at = end;
    }
    Ok(frames)
}
