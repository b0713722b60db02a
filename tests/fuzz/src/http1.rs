//! HTTP/1: writes requests, and parses the server's responses.

use crate::case::{Method, Request, RequestBody};

/// Encodes the n-th request.
pub(crate) fn request(n: usize, request: &Request) -> Vec<u8> {
    let method = match request.method {
        Method::Get | Method::Connect => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
    };
    let version = if request.old { "1.0" } else { "1.1" };
    let mut head = format!("{method} /{n} HTTP/{version}\r\nhost: t\r\n");
    if let Some(close) = request.close {
        head += if close { "connection: close\r\n" } else { "connection: keep-alive\r\n" };
    }
    if request.trailers {
        head += "te: trailers\r\n";
    }
    if request.expects {
        head += "expect: 100-continue\r\n";
    }
    // HTTP/1.0 has no chunks.
    let mut body = Vec::new();
    match request.body {
        RequestBody::None => {}
        RequestBody::Chunked(size, chunk) if !request.old => {
            head += "transfer-encoding: chunked\r\n";
            for at in (0..size).step_by(chunk) {
                let some = chunk.min(size - at);
                body.extend_from_slice(format!("{some:X}\r\n").as_bytes());
                body.resize(body.len() + some, b'b');
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"0\r\n\r\n");
        }
        RequestBody::Length(size) | RequestBody::Chunked(size, _) => {
            head += &format!("content-length: {size}\r\n");
            body.resize(size, b'b');
        }
        RequestBody::Unfinished(size) => {
            head += &format!("content-length: {}\r\n", size + 1);
            body.resize(size, b'b');
        }
    }
    head += "\r\n";
    [head.into_bytes(), body].concat()
}

/// A response, as far as it has been written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) status: u16,
    /// The length of the body so far, without its transfer coding.
    pub(crate) body: usize,
    /// The offset of its end, if the end has been written.
    pub(crate) end: Option<usize>,
    /// The response ends with the connection, and `end` is its end so far.
    pub(crate) until_close: bool,
}

/// Parses the responses. The n-th has no content, whatever its head says, if `is_head(n)`.
///
/// # Errors
///
/// Returns a description of the bytes that are not a response.
pub(crate) fn responses(bytes: &[u8], is_head: impl Fn(usize) -> bool) -> Result<Vec<Written>, String> {
    let mut responses = Vec::new();
    let mut at = 0;
    while let Some(head) = find(&bytes[at..], b"\r\n\r\n") {
        let text = std::str::from_utf8(&bytes[at..at + head]).map_err(|_| format!("no head at {at}"))?;
        let start = at + head + 4;
        let mut lines = text.split("\r\n");
        let status =
            lines.next().and_then(status).ok_or_else(|| format!("no status line at {at}: {text}"))?;
        if status == 100 {
            at = start;
            continue;
        }
        let fields: Vec<(String, &str)> = lines
            .map(|line| line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value)))
            .collect::<Option<_>>()
            .ok_or_else(|| format!("no field at {at}: {text}"))?;
        let field = |name: &str| fields.iter().find(|(other, _)| other == name).map(|(_, value)| *value);
        let rest = &bytes[start..];
        let (body, end, until_close) = if is_head(responses.len()) || status == 204 || status == 304 {
            (0, Some(0), false)
        } else if field("transfer-encoding") == Some("chunked") {
            let (body, end) = chunks(rest)?;
            (body, end, false)
        } else if let Some(length) = field("content-length") {
            let length = length.parse().map_err(|_| format!("no length at {at}: {text}"))?;
            (rest.len().min(length), (rest.len() >= length).then_some(length), false)
        } else {
            (rest.len(), Some(rest.len()), true)
        };
        let end = end.map(|end| start + end);
        responses.push(Written { status, body, end, until_close });
        match end {
            Some(end) => at = end,
            None => return Ok(responses),
        }
    }
    Ok(responses)
}

fn status(line: &str) -> Option<u16> {
    let line = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "))?;
    line.get(..3)?.parse().ok()
}

/// Returns the length of the content, and the offset after the last chunk and its trailers.
fn chunks(bytes: &[u8]) -> Result<(usize, Option<usize>), String> {
    let (mut body, mut at) = (0, 0);
    while let Some(line) = find(&bytes[at.min(bytes.len())..], b"\r\n") {
        let digits = std::str::from_utf8(&bytes[at..at + line]).map_err(|_| "no chunk size")?;
        let size = usize::from_str_radix(digits, 16).map_err(|_| format!("no chunk size: {digits}"))?;
        if size == 0 {
            let end = find(&bytes[at + line..], b"\r\n\r\n").map(|end| at + line + end + 4);
            return Ok((body, end));
        }
        let start = at + line + 2;
        body += size.min(bytes.len() - start);
        at = start + size + 2;
        if bytes.get(at - 2..at).is_some_and(|end| end != b"\r\n") {
            return Err(format!("no end of a chunk of {size}"));
        }
    }
    Ok((body, None))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
