//! Counts how much of an HTTP/1 response's body was written, by parsing the bytes on the wire.

/// Parses one response from the first byte of its head (RFC 9112).
#[derive(Debug)]
pub(super) struct BodyCounter {
    part: Part,
    /// Bytes of the body, without its transfer coding.
    body: u64,
}

/// The part of the body that comes next.
#[derive(Debug)]
enum Part {
    Head(Head),
    /// A body without a transfer coding, and whatever follows it.
    Plain,
    ChunkSize(u64),
    /// The rest of a chunk, with the line break after it.
    Chunk(u64),
    /// Trailers, and whatever follows them.
    Over,
}

#[derive(Debug, Default)]
struct Head {
    /// The start of a line that was only partly written.
    line: Vec<u8>,
    /// The status line has been written.
    begun: bool,
    /// The status is interim, such as `100 Continue`, so another head follows.
    interim: bool,
    chunked: bool,
}

impl BodyCounter {
    pub(super) fn new() -> Self {
        Self { part: Part::Head(Head::default()), body: 0 }
    }

    /// Returns the number of body bytes written. Without a transfer coding, bytes that follow the response count too.
    pub(super) fn body(&self) -> u64 {
        self.body
    }

    /// Parses written bytes.
    pub(super) fn wrote(&mut self, mut bytes: &[u8]) {
        while let Some(&first) = bytes.first() {
            match &mut self.part {
                Part::Head(head) => {
                    let line = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1);
                    if let Some(next) = head.wrote(&bytes[..line]) {
                        self.part = next;
                    }
                    bytes = &bytes[line..];
                }
                Part::Plain => {
                    self.body += bytes.len() as u64;
                    return;
                }
                Part::ChunkSize(size) => {
                    match (char::from(first).to_digit(16), first) {
                        (Some(digit), _) => *size = *size * 16 + u64::from(digit),
                        (None, b'\n') if *size == 0 => self.part = Part::Over,
                        (None, b'\n') => self.part = Part::Chunk(*size + 2),
                        (None, _) => {}
                    }
                    bytes = &bytes[1..];
                }
                // Includes the line break after the chunk.
                Part::Chunk(left) => {
                    let some = (*left).min(bytes.len() as u64);
                    self.body += some.min(left.saturating_sub(2));
                    *left -= some;
                    if *left == 0 {
                        self.part = Part::ChunkSize(0);
                    }
                    bytes = &bytes[some as usize..];
                }
                Part::Over => return,
            }
        }
    }
}

impl Head {
    /// Parses a line or a part of one. Returns what follows the head, if the head ends here.
    fn wrote(&mut self, part: &[u8]) -> Option<Part> {
        if !part.ends_with(b"\n") {
            self.line.extend_from_slice(part);
            return None;
        }
        if self.line.is_empty() {
            return self.wrote_line(part);
        }
        let mut line = std::mem::take(&mut self.line);
        line.extend_from_slice(part);
        self.wrote_line(&line)
    }

    fn wrote_line(&mut self, line: &[u8]) -> Option<Part> {
        const CODING: &[u8] = b"transfer-encoding:";
        match line {
            b"\r\n" if self.interim => return Some(Part::Head(Self::default())),
            b"\r\n" if self.chunked => return Some(Part::ChunkSize(0)),
            b"\r\n" => return Some(Part::Plain),
            _ if !self.begun => {
                // `101 Switching Protocols` is not interim, and what follows it is not a body.
                self.begun = true;
                self.interim = line.get(9) == Some(&b'1') && line.get(9..12) != Some(b"101");
            }
            _ => {
                let is_coding =
                    line.get(..CODING.len()).is_some_and(|name| name.eq_ignore_ascii_case(CODING));
                self.chunked |= is_coding;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn count<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
        let mut taken = BodyCounter::new();
        parts.into_iter().for_each(|part| taken.wrote(part));
        taken.body()
    }

    /// Bytes as they occur in a response, in any order. A chunk's size fits into 64 bits.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"HTTP/1.1 200 OK\r\n".to_vec()),
            Just(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
            Just(b"HTTP/1.1 101 Switching Protocols\r\n".to_vec()),
            Just(b"transfer-encoding: chunked\r\n".to_vec()),
            Just(b"\r\n".to_vec()),
            "[0-9a-fA-F]{1,14}\r\n".prop_map(String::into_bytes),
            vec(prop_oneof![Just(b'\r'), Just(b'\n'), 0..=b'/', b'g'..=0xff], 0..20),
        ];
        vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    /// A response, and the ranges of its body bytes.
    fn response() -> impl Strategy<Value = (Vec<u8>, Vec<usize>)> {
        let chunks = vec(vec(any::<u8>(), 1..40), 0..8);
        (0..3_usize, any::<bool>(), any::<bool>(), chunks).prop_map(|(interim, chunked, capitals, chunks)| {
            let mut response = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(interim);
            response.extend_from_slice(b"HTTP/1.1 200 OK\r\nx: y\r\n");
            let mut at = Vec::new();
            if chunked {
                let coding: &[u8] = b"Transfer-Encoding: chunked\r\n";
                response.extend(if capitals { coding.to_vec() } else { coding.to_ascii_lowercase() });
            }
            response.extend_from_slice(b"\r\n");
            for chunk in chunks {
                if chunked {
                    let size = format!("{:x}\r\n", chunk.len());
                    response.extend(if capitals { size.to_ascii_uppercase() } else { size }.into_bytes());
                }
                at.extend(response.len()..response.len() + chunk.len());
                response.extend(chunk);
                if chunked {
                    response.extend_from_slice(b"\r\n");
                }
            }
            if chunked {
                response.extend_from_slice(b"0\r\nx-sum: 1\r\n\r\n");
            }
            (response, at)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn of_any_bytes_the_same_is_counted_however_they_were_cut(bytes in bytes(), cuts in vec(1..40_usize, 0..40)) {
            let mut parts = Vec::new();
            let mut rest = &*bytes;
            for cut in cuts {
                let (part, later) = rest.split_at(cut.min(rest.len()));
                parts.push(part);
                rest = later;
            }
            parts.push(rest);
            let counted = count(parts);
            prop_assert_eq!(counted, count([&*bytes]));
            prop_assert!(counted <= bytes.len() as u64);
        }

        #[test]
        fn of_any_response_the_body_is_counted_as_far_as_it_was_written((response, body) in response(), end: usize) {
            let end = end % (response.len() + 1);
            let expected = body.iter().filter(|at| **at < end).count();
            prop_assert_eq!(count([&response[..end]]), expected as u64);
        }
    }

    /// Checks the count for every prefix of the response, split in every way.
    fn check(response: &str, body: impl Fn(usize) -> u64) {
        for end in 0..=response.len() {
            for cut in 1..=end.max(1) {
                let mut taken = BodyCounter::new();
                response.as_bytes()[..end].chunks(cut).for_each(|part| taken.wrote(part));
                assert_eq!(taken.body(), body(end), "{end} bytes, cut into {cut}");
            }
        }
    }

    #[test]
    fn a_body_of_known_length_is_counted_from_the_end_of_its_head() {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n";
        check(&format!("{head}content"), |end| end.saturating_sub(head.len()) as u64);
    }

    #[test]
    fn an_interim_response_is_not_the_response() {
        let heads = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nx: transfer-encoding: chunked\r\n\r\n";
        check(&format!("{heads}content"), |end| end.saturating_sub(heads.len()) as u64);
    }

    #[test]
    fn of_a_chunked_body_only_the_content_counts() {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let response =
            format!("{head}3\r\nabc\r\n11\r\n0123456789abcdef0\r\n0\r\nx-sum: 1\r\n\r\nHTTP/1.1 200 OK");
        let (first, second) = (head.len() + 3, head.len() + 3 + 5 + 4);
        check(&response, |end| {
            (end.saturating_sub(first).min(3) + end.saturating_sub(second).min(17)) as u64
        });
    }
}
