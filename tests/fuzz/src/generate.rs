//! Makes cases from seeds.

use crate::case::{
    Answer, App, Case, Course, Exchange, Fault, Inner, Memory, Method, Misuse, Outcome, Outer, Protocol,
    Reads, Request, RequestBody, Settings, Shape, Step, Transport,
};

/// The largest size of a body, in bytes.
pub(crate) const MAX_SIZE: usize = 40_000;
/// The largest offset of a body in the static.
pub(crate) const MAX_OFFSET: usize = 10_000;

/// The features that cases may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breadth {
    /// Plain requests for full and streamed bodies, each in its own memory.
    Own,
    /// Plain requests, some without jobs, for bodies that share memory.
    Shared,
    /// All features.
    Everything,
}

impl Case {
    /// Creates the case of this seed, of either protocol.
    pub fn of_seed(seed: u64) -> Self {
        let mut dice = Dice(fastrand::Rng::with_seed(seed));
        let protocol = dice.pick(&[Protocol::Http1, Protocol::Http2]);
        dice.case(protocol, Breadth::Everything)
    }

    /// Creates the case of this seed, protocol and breadth.
    pub fn random(seed: u64, protocol: Protocol, breadth: Breadth) -> Self {
        Dice(fastrand::Rng::with_seed(seed)).case(protocol, breadth)
    }
}

struct Dice(fastrand::Rng);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        // Not a `usize`, which depends on the machine.
        self.0.u64(..end as u64) as usize
    }

    fn between(&mut self, from: usize, to: usize) -> usize {
        from + self.below(to - from)
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    /// Returns a number below this, of any order of magnitude.
    fn magnitude(&mut self, end: usize) -> usize {
        let bits = self.between(1, end.ilog2() as usize + 2);
        self.below(end.min(1 << bits))
    }

    fn case(&mut self, protocol: Protocol, breadth: Breadth) -> Case {
        let everything = breadth == Breadth::Everything;
        let mut case = Case::new(protocol, []);
        case.transport = self.transport(everything);
        if everything {
            case.app = self.app();
        }
        if protocol == Protocol::Http2 {
            case.settings =
                if everything { self.settings() } else { Settings { window: 30_000, ..case.settings } };
        }
        let steps = self.between(1, 40);
        let mut requests = 0;
        for _ in 0..steps {
            match self.step(protocol, breadth, requests) {
                Step::Request(exchange) => {
                    requests += 1;
                    case.steps.push(Step::Request(exchange));
                    if !everything || !self.one_in(3) {
                        case.steps.push(Step::Send(usize::MAX));
                    }
                }
                step => case.steps.push(step),
            }
        }
        case
    }

    fn transport(&mut self, everything: bool) -> Transport {
        Transport {
            per_write: self.magnitude(20_000) + 1,
            per_read: if everything && self.one_in(4) { self.between(1, 50) } else { usize::MAX },
            vectored: self.0.bool(),
            stutters: everything && self.one_in(4),
        }
    }

    fn settings(&mut self) -> Settings {
        Settings {
            window: self.pick(&[0, 1, 100, 5_000, 16_384, 30_000, 65_535, 65_535, 1 << 20, (1 << 31) - 1]),
            max_frame: self.pick(&[16_384, 16_384, 16_385, 50_000, (1 << 24) - 1]),
            acknowledges: !self.one_in(8),
        }
    }

    fn app(&mut self) -> App {
        let outer = match self.below(10) {
            0 => Outer::Passes,
            1 => Outer::Buffers,
            2 => Outer::Replaces(self.magnitude(MAX_SIZE)),
            3 => Outer::CatchesPanics,
            _ => Outer::None,
        };
        let bound = |dice: &mut Self| dice.one_in(6).then(|| dice.between(1, 4));
        App {
            outer,
            nested: self.one_in(6),
            max_running: bound(self),
            max_pending: bound(self),
            releases_after: self.one_in(6),
        }
    }

    fn step(&mut self, protocol: Protocol, breadth: Breadth, requests: usize) -> Step {
        let nth = |dice: &mut Self| dice.below(requests.max(1));
        if breadth != Breadth::Everything || !self.one_in(3) {
            return match self.below(19) {
                0..5 => Step::Request(Box::new(self.exchange(breadth, protocol))),
                5..9 => Step::Allow(self.between(1, 400)),
                9..13 => Step::Allow(self.between(1, 50_000)),
                13..15 => Step::BlockFlushes(self.0.bool()),
                15..17 if protocol == Protocol::Http2 => Step::Reset(nth(self)),
                15..17 => Step::Allow(self.magnitude(50_000) + 1),
                17 => Step::BreakWrites,
                _ => Step::Leave,
            };
        }
        match (self.below(30), protocol) {
            (0..8, _) => Step::Feed(nth(self), self.between(1, 20)),
            (8..13, _) => Step::Send(self.magnitude(5_000) + 1),
            (13..15, _) => Step::Send(usize::MAX),
            (15..17, _) => Step::Allow(usize::MAX),
            (17, _) => self.pick(&[Step::Shutdown, Step::Wait, Step::Wait]),
            (18, _) => self.pick(&[Step::BreakReads, Step::Vanish]),
            (19..24, Protocol::Http2) => {
                let stream = if self.one_in(3) { None } else { Some(nth(self)) };
                Step::Window(stream, self.magnitude(100_000) as u32 + 1)
            }
            (24, Protocol::Http2) => {
                Step::InitialWindow(self.pick(&[0, 1, 10, 16_384, 65_535, 200_000, (1 << 31) - 1]))
            }
            (25, Protocol::Http2) => Step::MaxFrame(self.pick(&[16_384, 20_000, (1 << 24) - 1])),
            (26, Protocol::Http2) => self.pick(&[Step::Ping, Step::Ping, Step::Unknown]),
            (27, Protocol::Http2) => Step::Priority(nth(self)),
            (28, Protocol::Http2) if self.one_in(2) => Step::GoAway(self.pick(&[0, 1, (1 << 31) - 1])),
            (29, Protocol::Http2) if self.one_in(2) => {
                let n = nth(self);
                Step::Misuse(self.pick(&[
                    Misuse::OverflowStream(n),
                    Misuse::OverflowConnection,
                    Misuse::ZeroWindow(n),
                    Misuse::DataAfterEnd(n),
                    Misuse::Garbage,
                ]))
            }
            _ => Step::Allow(self.magnitude(50_000) + 1),
        }
    }

    fn size(&mut self) -> usize {
        match self.below(3) {
            0 => 0,
            1 => self.between(1, 300),
            _ => self.between(200, MAX_SIZE),
        }
    }

    fn exchange(&mut self, breadth: Breadth, protocol: Protocol) -> Exchange {
        let mut exchange = Exchange::of(self.size());
        let answer = &mut exchange.answer;
        match breadth {
            Breadth::Own => answer.shape = self.pick(&[Shape::Full, Shape::Streamed]),
            Breadth::Shared => {
                answer.shape = self.pick(&[Shape::Full, Shape::Streamed, Shape::Announced]);
                answer.memory = self.memory();
                answer.jobs = usize::from(!self.one_in(5));
            }
            Breadth::Everything => {
                exchange.request = self.request(protocol);
                self.answer(&mut exchange.answer);
            }
        }
        exchange
    }

    fn memory(&mut self) -> Memory {
        let offset = self.below(MAX_OFFSET);
        self.pick(&[Memory::Own, Memory::Cached, Memory::Static(0), Memory::Static(offset)])
    }

    fn request(&mut self, protocol: Protocol) -> Request {
        let method = match self.below(10) {
            0 => Method::Head,
            1..4 => Method::Post,
            4 if protocol == Protocol::Http2 && self.one_in(2) => Method::Connect,
            _ => Method::Get,
        };
        let size = self.magnitude(5_000);
        let body = match self.below(6) {
            _ if method != Method::Post => RequestBody::None,
            0..3 => RequestBody::Length(size),
            // h2 treats thousands of nearly empty frames as an attack.
            3..5 => RequestBody::Chunked(size, self.magnitude(2_000).max(size / 50) + 1),
            _ => RequestBody::Unfinished(size),
        };
        Request {
            method,
            old: self.one_in(8),
            close: if self.one_in(8) { Some(self.0.bool()) } else { None },
            body,
            expects: body != RequestBody::None && self.one_in(3),
            trailers: self.one_in(3),
            splits: self.one_in(4),
        }
    }

    fn answer(&mut self, answer: &mut Answer) {
        answer.status = self.pick(&[200, 200, 200, 200, 201, 404, 500, 204, 304]);
        answer.shape =
            self.pick(&[Shape::Full, Shape::Full, Shape::Streamed, Shape::Sized, Shape::Announced]);
        answer.memory = self.memory();
        answer.chunk = self.magnitude(20_000) + 1;
        // Not a million frames.
        answer.chunk = answer.chunk.max(answer.size / 200 + 1);
        answer.empty_chunks = self.one_in(6);
        answer.tells_end = self.0.bool();
        answer.trailers = self.one_in(5);
        answer.announced = self.one_in(4).then(|| self.magnitude(2 * answer.size + 2));
        answer.pends = self.one_in(4);
        answer.ends_late = self.one_in(4);
        let at = self.magnitude(16);
        answer.fault = match self.below(20) {
            0 => Some(Fault::Fails(at)),
            1 => Some(Fault::Panics(at)),
            2 => Some(Fault::Ends(at)),
            _ => None,
        };
        answer.reads = self.pick(&[Reads::Nothing, Reads::First, Reads::All, Reads::All]);
        answer.course = match self.below(20) {
            0 | 1 => Course::Waits,
            2 => Course::TimesOut,
            3 => Course::Panics,
            _ => Course::Answers,
        };
        answer.jobs = self.pick(&[0, 1, 1, 1, 2, 3]);
        answer.outcome = self.pick(&[
            Outcome::Succeeds,
            Outcome::Succeeds,
            Outcome::Succeeds,
            Outcome::Fails,
            Outcome::Panics,
        ]);
        answer.conditional = self.one_in(3);
        answer.stream_job = self.one_in(4).then(|| self.magnitude(8));
        answer.inner = self.one_in(8).then(|| self.pick(&[Inner::Reads, Inner::Drops, Inner::Forwards]));
    }
}
