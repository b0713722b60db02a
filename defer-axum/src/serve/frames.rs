//! The frames that an HTTP/2 connection writes (RFC 9113, section 4.1).

/// Finds empty DATA frames in the bytes that are written.
#[derive(Debug, Default)]
pub(super) enum Frames {
    /// Nothing was written yet.
    #[default]
    Unknown,
    Http1,
    Http2(Reader),
}

/// A position in a stream of frames: after the bytes offered to the operating system, whether or not it accepted all of them.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// The part of the next frame's head that was offered.
    head: [u8; HEAD],
    head_len: usize,
    /// The rest of the current frame's payload.
    payload: usize,
    /// The number of bytes that were offered but not accepted.
    offered: usize,
}

const HEAD: usize = 9;
const DATA: u8 = 0;

impl Frames {
    #[inline]
    pub(super) fn is_http1(&self) -> bool {
        matches!(self, Self::Http1)
    }

    /// Records that bytes were offered, in parts, and that `taken` of them were accepted. The rest will be offered again. Returns
    /// whether newly offered bytes end an empty DATA frame.
    #[inline(never)]
    pub(super) fn offered<'a>(
        &mut self,
        parts: impl Iterator<Item = &'a [u8]> + Clone,
        taken: usize,
    ) -> bool {
        match self {
            Self::Http1 => false,
            Self::Http2(reader) => reader.offered(parts, taken),
            Self::Unknown => self.first_offered(parts, taken),
        }
    }

    fn first_offered<'a>(&mut self, parts: impl Iterator<Item = &'a [u8]> + Clone, taken: usize) -> bool {
        match parts.clone().flatten().next() {
            None => return false,
            // An HTTP/2 server's first frame is SETTINGS, which is far shorter than a frame that begins with this byte.
            Some(b'H') => *self = Self::Http1,
            Some(_) => *self = Self::Http2(Reader::default()),
        }
        self.offered(parts, taken)
    }

    /// Records that all offered bytes were accepted.
    #[inline]
    pub(super) fn flushed(&mut self) {
        if let Self::Http2(reader) = self {
            *reader = Reader::default();
        }
    }
}

impl Reader {
    fn offered<'a>(&mut self, parts: impl Iterator<Item = &'a [u8]>, taken: usize) -> bool {
        let mut known = self.offered;
        let (mut all, mut found) = (0, false);
        for part in parts {
            all += part.len();
            let skip = known.min(part.len());
            known -= skip;
            found |= self.read(&part[skip..]);
        }
        self.offered = all.max(self.offered).saturating_sub(taken);
        found
    }

    /// Returns whether an empty DATA frame ends in these bytes.
    fn read(&mut self, mut bytes: &[u8]) -> bool {
        let mut found = false;
        while !bytes.is_empty() {
            if self.payload > 0 {
                let some = self.payload.min(bytes.len());
                self.payload -= some;
                bytes = &bytes[some..];
                continue;
            }
            let some = (HEAD - self.head_len).min(bytes.len());
            self.head[self.head_len..self.head_len + some].copy_from_slice(&bytes[..some]);
            self.head_len += some;
            bytes = &bytes[some..];
            if self.head_len == HEAD {
                self.head_len = 0;
                let [a, b, c, kind, ..] = self.head;
                self.payload = u32::from_be_bytes([0, a, b, c]) as usize;
                found |= kind == DATA && self.payload == 0;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use std::iter::once;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        let mut frame = (payload as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, 0, 0, 0, 0, 1]);
        frame.resize(HEAD + payload, 0);
        frame
    }

    #[test]
    fn http1_has_no_frames() {
        let mut frames = Frames::default();
        let response = b"HTTP/1.1 200 OK\r\n\r\n\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        assert!(!frames.offered(once(&response[..]), response.len()));
        assert!(!frames.offered(once(&response[20..]), 10));
    }

    #[test]
    fn a_frame_is_found_once_though_it_is_offered_again() {
        let mut frames = Frames::default();
        let wire = [frame(4, 6), frame(DATA, 0), frame(DATA, 3)].concat();
        assert!(frames.offered(once(&wire[..]), 0));
        assert!(!frames.offered(once(&wire[..]), 5));
        assert!(!frames.offered(once(&wire[5..]), wire.len() - 5));
        assert!(frames.offered(once(&frame(DATA, 0)[..]), HEAD));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Encodes bytes in steps. Attempts to write what is left follow each step.
        #[test]
        fn exactly_the_steps_with_an_empty_frame_find_one(
            steps in vec((vec((prop_oneof![Just(DATA), Just(1)], prop_oneof![Just(0), 0..40_usize]), 0..4), vec(0..50_usize, 1..4)), 1..8),
            cut in 1..20_usize,
        ) {
            let mut frames = Frames::default();
            frames.offered(once(&frame(4, 0)[..]), HEAD);
            let mut left = Vec::new();
            for (added, takes) in steps {
                let has_empty = added.contains(&(DATA, 0));
                left.extend(added.into_iter().flat_map(|(kind, payload)| frame(kind, payload)));
                for (n, take) in takes.into_iter().enumerate() {
                    let take = take.min(left.len());
                    let found = frames.offered(left.chunks(cut), take);
                    prop_assert_eq!(found, n == 0 && has_empty);
                    left.drain(..take);
                }
            }
        }
    }
}
