//! What of HTTP/2 can be seen in the bytes that a server writes: which stream a byte belongs to, and where a stream
//! ends (RFC 9113, section 4.1).

/// Follows the frames on one connection.
#[derive(Debug, Default)]
pub(super) struct Frames {
    protocol: Protocol,
    head: [u8; HEAD],
    /// How much of `head` has been seen.
    seen: usize,
    /// How much of the payload has not been seen.
    left: usize,
}

#[derive(Clone, Copy, Debug, Default)]
enum Protocol {
    #[default]
    Unknown,
    Http1,
    Http2,
}

const HEAD: usize = 9;
const DATA: u8 = 0;
const END_STREAM: u8 = 1;

/// Something that was written.
pub(super) enum Seen<'a> {
    /// A part of a DATA frame's payload, where it lies in memory.
    Data { stream: u32, part: &'a [u8] },
    /// A DATA frame ended its stream.
    End { stream: u32 },
}

impl Frames {
    /// Whether there are none to follow, as is known once something was written.
    pub(super) fn are_http1(&self) -> bool {
        matches!(self.protocol, Protocol::Http1)
    }

    /// Goes on by bytes that were written, and shows what is in them.
    pub(super) fn wrote(&mut self, mut bytes: &[u8], mut see: impl FnMut(Seen<'_>)) {
        if let (Protocol::Unknown, Some(first)) = (self.protocol, bytes.first()) {
            // An HTTP/1 response begins with "HTTP/", an HTTP/2 connection with a short SETTINGS frame.
            self.protocol = if *first == b'H' { Protocol::Http1 } else { Protocol::Http2 };
        }
        if self.are_http1() {
            return;
        }
        while !bytes.is_empty() {
            if self.seen < HEAD {
                let part = bytes.len().min(HEAD - self.seen);
                self.head[self.seen..self.seen + part].copy_from_slice(&bytes[..part]);
                self.seen += part;
                bytes = &bytes[part..];
                if self.seen < HEAD {
                    return;
                }
                self.left = usize::from(self.head[0]) << 16
                    | usize::from(self.head[1]) << 8
                    | usize::from(self.head[2]);
            }
            let part;
            (part, bytes) = bytes.split_at(bytes.len().min(self.left));
            self.left -= part.len();
            let [.., a, b, c, d] = self.head;
            let stream = u32::from_be_bytes([a, b, c, d]);
            let is_data = self.head[3] == DATA;
            if is_data && !part.is_empty() {
                see(Seen::Data { stream, part });
            }
            if self.left == 0 {
                self.seen = 0;
                if is_data && self.head[4] & END_STREAM != 0 {
                    see(Seen::End { stream });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_followed_however_they_are_cut() {
        let mut wire = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
        wire.extend([0, 0, 3, DATA, 0, 0, 0, 0, 1, b'a', b'b', b'c']);
        wire.extend([0, 0, 0, DATA, END_STREAM, 0, 0, 0, 1]);
        wire.extend([0, 0, 2, DATA, END_STREAM, 0, 0, 1, 3, b'd', b'e']);
        for cut in 1..wire.len() {
            let (mut frames, mut seen) = (Frames::default(), String::new());
            for part in wire.chunks(cut) {
                frames.wrote(part, |what| match what {
                    Seen::Data { stream, part } => {
                        part.iter().for_each(|byte| seen += &format!("{stream}{} ", char::from(*byte)));
                    }
                    Seen::End { stream } => seen += &format!("{stream}. "),
                });
            }
            assert_eq!(seen, "1a 1b 1c 1. 259d 259e 259. ", "cut into {cut}");
        }
    }

    #[test]
    fn http1_is_left_alone() {
        let mut frames = Frames::default();
        frames.wrote(b"HTTP/1.1 200 OK\r\n", |_| panic!("no frames there"));
        frames.wrote(&[0; 100], |_| panic!("no frames there"));
    }
}
