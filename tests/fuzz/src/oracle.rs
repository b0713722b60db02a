//! Checks the promises that must hold whatever is played.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
};

use defer_axum::{Delivery, Runner, ShutdownReport, Stats};
use defer_tests::{By, Pipe, Server};
use tokio::task::JoinHandle;

use crate::{
    case::{Answer, Case, Course, Exchange, Fault, Method, Outer, Protocol, Reads, RequestBody},
    client::Client,
    counts::Counts,
    http1, http2,
    world::{JobKey, Place, Told, World},
};

/// The part of a response that the connection has accepted.
#[derive(Debug)]
pub(crate) struct Seen {
    /// The status. HTTP/1 only.
    status: Option<u16>,
    /// The number of body bytes.
    body: usize,
    /// The offset of its end, if the end is visible.
    end: Option<usize>,
    /// The offset up to which everything must be flushed before the response counts as sent. Over HTTP/2 trailers may still
    /// be outstanding.
    sent_from: Option<usize>,
    /// The server has reset the stream.
    reset: bool,
}

/// Keyed by the number of the request.
type AllSeen = BTreeMap<usize, Seen>;

pub(crate) struct Oracle<'a> {
    by: By,
    case: &'a Case,
    world: World,
    pipe: Pipe,
    stopped: RefCell<Option<JoinHandle<ShutdownReport>>>,
    /// A step let more time pass than a response may take. Only with a limit.
    pub(crate) waited: Cell<bool>,
}

impl<'a> Oracle<'a> {
    pub(crate) fn new(by: By, case: &'a Case, world: &World, pipe: &Pipe) -> Self {
        Self {
            by,
            case,
            world: world.clone(),
            pipe: pipe.clone(),
            stopped: RefCell::default(),
            waited: Cell::new(false),
        }
    }

    /// Shuts the server down, unless that has already happened.
    pub(crate) fn stops(&self, server: Option<Server<()>>) {
        if let Some(server) = server {
            self.stopped.replace(Some(tokio::spawn(server.stop())));
        }
    }

    fn exchange(&self, n: usize) -> &Exchange {
        self.world.exchange(n)
    }

    fn answer(&self, n: usize) -> &Answer {
        &self.exchange(n).answer
    }

    /// Parses what the server has written.
    pub(crate) fn look(&self) -> Result<AllSeen, String> {
        match self.case.protocol {
            Protocol::Http1 => {
                let is_head =
                    |n: usize| n < self.world.requests() && self.exchange(n).request.method == Method::Head;
                let responses = self.pipe.with_accepted(|bytes| http1::responses(bytes, is_head))?;
                let seen = |written: http1::Written| Seen {
                    status: Some(written.status),
                    body: written.body,
                    end: written.end.filter(|_| !written.until_close),
                    sent_from: written.end,
                    reset: false,
                };
                Ok(responses.into_iter().map(seen).enumerate().collect())
            }
            Protocol::Http2 => {
                let frames = self.pipe.with_accepted(http2::frames)?;
                let mut all = AllSeen::new();
                for (stream, written) in frames.streams {
                    let n = stream as usize / 2;
                    if stream % 2 == 0 || n >= self.world.requests() {
                        return Err(format!("nobody has opened stream {stream}"));
                    }
                    let may_lack_trailers = self.answer(n).trailers;
                    let least = written.end.or(written.data_end.filter(|_| may_lack_trailers));
                    let sent_from = match self.announced(n) {
                        Some(length) => written.end_of(length),
                        None => least.map(|end| written.data_end.unwrap_or(end)),
                    };
                    let seen = Seen {
                        status: None,
                        body: written.body,
                        end: written.end,
                        sent_from,
                        reset: written.reset,
                    };
                    all.insert(n, seen);
                }
                Ok(all)
            }
        }
    }

    /// Checks what each job was told.
    pub(crate) fn check_told(&self, client: &Client, seen: &AllSeen) -> Result<(), String> {
        let state = self.world.state();
        for told in state.ran.iter().chain(&state.asked) {
            self.check_delivery(told, client, seen)?;
            self.check_bytes(told, seen)?;
        }
        let mut ran: BTreeSet<JobKey> = BTreeSet::new();
        for told in &state.ran {
            if !ran.insert(told.job) {
                return Err(format!("ran twice: {told:?}"));
            }
            let asked: Vec<_> = state.asked.iter().filter(|asked| asked.job == told.job).collect();
            let as_often = asked.len() == usize::from(self.answer(told.job.n).conditional);
            let same = asked.iter().all(|asked| {
                (asked.delivery, asked.status, asked.bytes) == (told.delivery, told.status, told.bytes)
            });
            if !as_often || !same {
                return Err(format!("ran: {told:?}, but its condition was asked: {asked:?}"));
            }
        }
        Ok(())
    }

    fn check_delivery(&self, told: &Told, client: &Client, seen: &AllSeen) -> Result<(), String> {
        let Told { job: JobKey { n, place, .. }, delivery, flushed, .. } = *told;
        let exchange = self.exchange(n);
        let answer = &exchange.answer;
        let gone = client.broke || client.withdrawn.contains(&n);
        let fault = answer.fault();
        let is_true = match delivery {
            _ if place == Place::Inner => delivery != Delivery::Sent,
            Delivery::Sent => {
                self.by == By::Defer
                    && seen.get(&n).is_some_and(|seen| seen.sent_from.is_some_and(|end| end <= flushed))
                    && self.is_status(n, told.status, seen)
            }
            Delivery::Finished => self.by == By::Axum || self.is_upgrade(n),
            Delivery::Disconnected => {
                let complete = seen.get(&n).is_some_and(|seen| seen.end.is_some());
                // Over HTTP/1 a failure of the next handler may close the connection before this response is flushed.
                let dragged = self.case.protocol == Protocol::Http1
                    && (n + 1..self.world.requests()).any(|later| {
                        let answer = self.answer(later);
                        answer.course == Course::Panics || answer.fault().is_some() || answer.is_short()
                    });
                (gone || dragged) && (self.by == By::Defer || !complete)
            }
            Delivery::Failed => matches!(fault, Some(Fault::Fails(_))) || answer.is_short(),
            Delivery::Unfinished => self.case.app.releases_after && self.waited.get(),
            Delivery::Cancelled => gone || answer.course == Course::TimesOut,
            Delivery::Panicked => {
                // h2 0.4.20 asserts at the end of a connection that it has no streams left, which is not always true.
                let asserts = cfg!(debug_assertions) && self.case.protocol == Protocol::Http2 && client.broke;
                answer.course == Course::Panics || matches!(fault, Some(Fault::Panics(_))) || asserts
            }
            _ => false,
        };
        if is_true { Ok(()) } else { Err(format!("untrue: {told:?}, of {:?}", seen.get(&n))) }
    }

    /// Returns whether a response that was sent may have this status.
    fn is_status(&self, n: usize, status: Option<u16>, seen: &AllSeen) -> bool {
        let written = seen.get(&n).and_then(|seen| seen.status);
        let answer = self.answer(n);
        let expected = match answer.course {
            Course::TimesOut => vec![503],
            Course::Panics => vec![500],
            Course::Answers | Course::Waits => match self.case.app.outer {
                Outer::Replaces(_) => vec![202],
                Outer::Buffers if answer.fault().is_some() => vec![answer.status, 500],
                _ => vec![answer.status],
            },
        };
        status.is_some_and(|status| {
            expected.contains(&status) && written.is_none_or(|written| written == status)
        })
    }

    /// Returns whether the response may belong to an upgrade over HTTP/2, which has no end of its own.
    fn is_upgrade(&self, n: usize) -> bool {
        self.case.protocol == Protocol::Http2 && self.exchange(n).request.method == Method::Connect
    }

    fn check_bytes(&self, told: &Told, seen: &AllSeen) -> Result<(), String> {
        let JobKey { n, place, .. } = told.job;
        if place == Place::Inner || self.by == By::Axum {
            return Ok(());
        }
        let written = seen.get(&n).map_or(0, |seen| seen.body);
        let answer = self.answer(n);
        let unanswered = match told.delivery {
            Delivery::Cancelled => true,
            Delivery::Panicked => answer.course == Course::Panics,
            _ => false,
        };
        let is_true = match self.case.protocol {
            _ if unanswered => told.bytes == 0,
            // The response continues, or hyper still writes what it has.
            _ if told.delivery == Delivery::Unfinished
                || told.delivery == Delivery::Failed && answer.is_short() =>
            {
                told.bytes <= written
            }
            Protocol::Http1 => told.bytes == written,
            Protocol::Http2 if told.delivery == Delivery::Sent => {
                let most = self.announced(n).unwrap_or(usize::MAX);
                told.bytes == written.min(most)
            }
            Protocol::Http2 => told.bytes <= written,
        };
        let size = self.size_of(n).filter(|_| told.delivery == Delivery::Sent);
        if !is_true || size.is_some_and(|size| size != told.bytes) {
            return Err(format!("untrue: {told:?}, of {written}, the size being {size:?}"));
        }
        Ok(())
    }

    /// Returns the size of the body, unless something changes it.
    fn size_of(&self, n: usize) -> Option<usize> {
        let Exchange { request, answer } = self.exchange(n);
        let is_plain = matches!(self.case.app.outer, Outer::None | Outer::Passes | Outer::CatchesPanics)
            && matches!(request.method, Method::Get | Method::Post)
            && matches!(answer.course, Course::Answers | Course::Waits)
            && !matches!(answer.status, 204 | 304)
            && answer.fault().is_none();
        is_plain.then_some(answer.size.min(answer.announces().unwrap_or(usize::MAX)))
    }

    /// Returns the length that the outgoing head announces, if the handler set it.
    fn announced(&self, n: usize) -> Option<usize> {
        let Exchange { request, answer } = self.exchange(n);
        let is_handlers = matches!(self.case.app.outer, Outer::None | Outer::Passes | Outer::CatchesPanics)
            && matches!(answer.course, Course::Answers | Course::Waits);
        match (request.method, answer.status) {
            (Method::Head, _) | (_, 204 | 304) | (Method::Connect, 200..300) => None,
            _ => answer.announces().filter(|_| is_handlers),
        }
    }

    /// Checks that every job of a completely accepted response was released as `Sent`. Call it only at rest, with nothing
    /// blocked.
    pub(crate) fn check_released(&self, client: &Client, seen: &AllSeen) -> Result<(), String> {
        if self.by == By::Axum {
            return Ok(());
        }
        let state = self.world.state();
        let ran: BTreeMap<JobKey, Delivery> =
            state.ran.iter().map(|told| (told.job, told.delivery)).collect();
        for job in state.deferred.iter().filter(|job| job.place != Place::Inner) {
            // Over HTTP/2 the end may come long after the announced length, unless the client leaves in between.
            let is_whole = self.case.protocol == Protocol::Http2
                && self.announced(job.n).is_some()
                && self.answer(job.n).fault().is_none()
                // A job deferred after the announced length waits until the surplus before it is written.
                && job.place != Place::Stream
                && !client.broke
                && !client.withdrawn.contains(&job.n);
            let whole = |seen: &Seen| seen.end.or(seen.sent_from.filter(|_| is_whole));
            let Some(end) = seen.get(&job.n).and_then(whole) else { continue };
            let ended = ran.get(job).copied();
            // The handler had ended before a layer answered in its place.
            let unanswered = match self.answer(job.n).course {
                Course::TimesOut => ended == Some(Delivery::Cancelled),
                Course::Panics => ended == Some(Delivery::Panicked) && job.place == Place::Handler,
                Course::Answers | Course::Waits => false,
            };
            let upgraded = self.is_upgrade(job.n) && ended == Some(Delivery::Finished);
            if ended.is_none() && self.may_be_late(job.n) {
                continue;
            }
            // The next handler closed the connection before the flush.
            if ended == Some(Delivery::Disconnected) && self.pipe.is_closed() && self.pipe.flushed() < end {
                continue;
            }
            let excused = unanswered
                || upgraded
                || match ended {
                    Some(Delivery::Unfinished) => true,
                    // Over HTTP/2 a stream may end short of the announced length.
                    Some(Delivery::Failed) => self.answer(job.n).is_short(),
                    _ => false,
                };
            if ended != Some(Delivery::Sent) && !excused {
                let flushed = self.pipe.flushed();
                return Err(format!(
                    "{job:?} was told {ended:?}, of a response that ends at {end}, of {flushed}"
                ));
            }
        }
        Ok(())
    }

    /// Returns whether the flush after a response may have to wait for the next response, because the pipe is full: hyper 1.12
    /// reads the rest of the request's body, and the next request, before it flushes. A next response without jobs is not held.
    fn may_be_late(&self, n: usize) -> bool {
        self.case.protocol == Protocol::Http1 && self.leaves_some(n) && !self.pipe.has_room()
    }

    /// Returns whether the handler leaves some of the request's body unread.
    fn leaves_some(&self, n: usize) -> bool {
        let Exchange { request, answer } = self.exchange(n);
        request.body != RequestBody::None && answer.reads != Reads::All
    }

    /// Returns the requests whose responses have not ended although the client has let everything through.
    pub(crate) fn unanswered(&self, client: &Client, seen: &AllSeen) -> BTreeSet<usize> {
        if client.broke || self.stopped.borrow().is_some() {
            return BTreeSet::new();
        }
        let is_held_up = |n: &usize| {
            let seen = seen.get(n);
            let answered = seen.is_some_and(|seen| seen.end.is_some() || seen.sent_from.is_some());
            let unfinished = matches!(self.exchange(*n).request.body, RequestBody::Unfinished(_));
            let excused = match self.case.protocol {
                // hyper 1.12 forgets requests that follow one with an unread body until something wakes it. Under axum's server,
                // too, the response's timing decides which ones.
                Protocol::Http1 => self.pipe.is_closed() || (0..*n).any(|before| self.leaves_some(before)),
                Protocol::Http2 => {
                    client.withdrawn.contains(n) || self.is_upgrade(*n) || seen.is_some_and(|seen| seen.reset)
                }
            };
            !answered && !unfinished && !excused
        };
        (0..client.requests).filter(is_held_up).collect()
    }

    /// Returns whether the server has stopped.
    pub(crate) fn has_stopped(&self) -> bool {
        self.stopped.borrow().as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Checks that every job ran once and was counted once. Call it once the server has stopped.
    pub(crate) fn check_ended(
        &self,
        runner: &Runner,
        seen: &AllSeen,
        counts: &mut Counts,
    ) -> Result<(), String> {
        let state = self.world.state();
        let ran: BTreeSet<JobKey> = state.ran.iter().map(|told| told.job).collect();
        if let Some(job) = state.deferred.iter().find(|job| !ran.contains(job)) {
            return Err(format!("{job:?} has not run"));
        }
        let stats = runner.stats();
        let Stats { succeeded, failed, skipped, cancelled, shed, queued, abandoned, .. } = stats;
        let deferred = state.deferred.len() as u64;
        let mut expected = Stats::default();
        expected.deferred = deferred;
        expected.succeeded = deferred - state.failing;
        expected.failed = state.failing;
        if stats != expected
            || succeeded + failed + skipped + cancelled + shed + queued + abandoned != deferred
        {
            return Err(format!("{stats:?}, but {expected:?} was expected"));
        }
        counts.jobs += deferred;
        counts.failing += state.failing;
        counts.responses += seen.values().filter(|seen| seen.sent_from.is_some()).count() as u64;
        for told in &state.ran {
            *match told.delivery {
                Delivery::Sent => &mut counts.sent,
                Delivery::Finished => &mut counts.finished,
                Delivery::Disconnected => &mut counts.disconnected,
                Delivery::Failed => &mut counts.failed,
                Delivery::Cancelled => &mut counts.cancelled,
                Delivery::Panicked => &mut counts.panicked,
                Delivery::Unfinished => &mut counts.unfinished,
                _ => return Err(format!("an unknown delivery: {told:?}")),
            } += 1;
        }
        Ok(())
    }
}
