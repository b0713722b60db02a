//! The progress of one connection. It infers from reads, writes and flushes that a response has been sent.

use std::{
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use defer_core::Delivery;

use super::{body_counter::BodyCounter, state::ServerState};
use crate::release::ReleaseGuard;

/// Shared by a connection's I/O object and its responses.
pub(crate) struct Connection {
    state: Mutex<State>,
    /// The number of waiters for a flush in `State`, readable without the lock.
    waiting: AtomicUsize,
    /// `State` has last frames that h2 has dropped (HTTP/2).
    dropping: AtomicBool,
    /// The last action of the writing side, and what has happened since: [`UNFLUSHED`], [`WAITED`] and [`CALLED`] (HTTP/1).
    /// Only the connection's task uses it.
    writing: AtomicU8,
    /// Something was read since a response last began to wait for a flush, or last checked (HTTP/1).
    has_read: AtomicBool,
    /// `State` counts the bytes written (HTTP/1).
    counting: AtomicBool,
    /// The state of [`serve`](super::serve()).
    server: Option<Arc<ServerState>>,
}

/// The last call for writing was not a successful flush.
const UNFLUSHED: u8 = 1;
/// A response is waiting for a flush, and nothing was written or flushed since.
const WAITED: u8 = 2;
/// A request was received, and nothing was written or flushed since.
const CALLED: u8 = 4;

#[derive(Default)]
struct State {
    /// Responses that are complete except for a flush.
    waiting: Vec<ReleaseGuard>,
    /// Responses whose last frame h2 has dropped since the last call of the I/O object (HTTP/2), with the delivery if known.
    dropped: Vec<(ReleaseGuard, Option<Delivery>)>,
    /// Wakes the response that is waiting until everything before it is flushed (HTTP/1).
    held: Option<Waker>,
    /// Counts the written bytes of the current response (HTTP/1).
    taken: Option<BodyCounter>,
    /// The server buffers responses while there are more requests: hyper's `pipeline_flush` (HTTP/1).
    gathers: bool,
    /// Nothing more can be sent.
    closed: bool,
    /// The I/O object was dropped, and will not be called again.
    gone: bool,
}

impl Connection {
    pub(super) fn new(server: Option<Arc<ServerState>>) -> Self {
        if let Some(server) = &server {
            server.accepted();
        }
        Self {
            state: Mutex::default(),
            waiting: AtomicUsize::new(0),
            dropping: AtomicBool::new(false),
            writing: AtomicU8::new(0),
            has_read: AtomicBool::new(false),
            counting: AtomicBool::new(false),
            server,
        }
    }

    /// Returns a key for the connection. The next number is unique to it, too.
    pub(super) fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    pub(super) fn server(&self) -> Option<&ServerState> {
        self.server.as_deref()
    }

    /// Releases the jobs of a response at the next successful flush: the server has all of it. If the connection is closed, or
    /// closes before that, the response is `Disconnected`.
    pub(super) fn sent_with_next_flush(&self, guard: ReleaseGuard) {
        let mut state = self.lock();
        if state.closed {
            let taken = state.taken();
            drop(state);
            guard.end(Delivery::Disconnected, taken);
            return;
        }
        state.waiting.push(guard);
        self.count_waiting(&state);
    }

    /// Records that a request was received (HTTP/1).
    pub(super) fn called(&self) {
        let before = self.writing.load(Ordering::Relaxed);
        if before & CALLED != 0 {
            // hyper has the response to the previous request, and has not tried to write it.
            self.lock().gathers = true;
        }
        self.writing.store(before | CALLED, Ordering::Relaxed);
    }

    /// Records a read (HTTP/1).
    #[inline]
    pub(super) fn read(&self) {
        self.has_read.store(true, Ordering::Relaxed);
    }

    /// Waits until everything before an HTTP/1 response was flushed. The next byte written is then the first of its head, or
    /// of an interim one, and its body is counted from there.
    ///
    /// This delays nothing: hyper encodes one response after another and tries to flush each. If that fails, this response
    /// would wait behind the earlier one in the buffer. The exception is hyper's `pipeline_flush`, which is off by default.
    /// With it, hyper writes nothing while further requests are in its read buffer, and this must not wait for a flush that
    /// waits for this response. Every read may change whether there are further requests, and may come with the last signal
    /// that the socket accepts more. So a waiting response checks again after each read. How much of a single response was
    /// written is then unknown, and counts as nothing.
    pub(super) fn poll_begin(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        let writing = self.writing.load(Ordering::Relaxed);
        state.gathers |= writing & WAITED != 0;
        let waits = writing & UNFLUSHED != 0 && !state.gathers && !state.closed;
        let old = if waits { state.held.replace(cx.waker().clone()) } else { state.held.take() };
        let looks_again = waits && (self.has_read.swap(false, Ordering::Relaxed) || old.is_none());
        if waits {
            self.writing.store(writing | WAITED, Ordering::Relaxed);
        } else {
            state.taken = (!state.gathers).then(BodyCounter::new);
            self.counting.store(!state.gathers, Ordering::Relaxed);
        }
        self.count_waiting(&state);
        drop(state);
        drop(old);
        if looks_again {
            cx.waker().wake_by_ref();
        }
        if waits { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Returns how many body bytes of the current response were written (HTTP/1). This may include bytes that follow it.
    pub(super) fn taken(&self) -> u64 {
        self.lock().taken()
    }

    /// Returns whether nothing more can be sent.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Returns whether [`count_bytes`](Self::count_bytes) must be called.
    pub(super) fn is_counting(&self) -> bool {
        self.counting.load(Ordering::Relaxed)
    }

    /// Counts the written bytes of the current response.
    pub(super) fn count_bytes<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) {
        if let Some(taken) = &mut self.lock().taken {
            parts.into_iter().for_each(|part| taken.wrote(part));
        }
    }

    /// Stops counting: the current response has no jobs.
    pub(super) fn stop_counting(&self) {
        self.counting.store(false, Ordering::Relaxed);
    }

    /// Records that h2 has dropped the last frame of a response. If the delivery is not known, h2 has either encoded or discarded
    /// the frame, and the next call of the I/O object tells which: [`wrote`](Self::wrote) or
    /// [`did_not_write`](Self::did_not_write). Either way, that call releases the jobs. Here h2 holds its locks, and jobs, hooks
    /// and their values may call h2.
    ///
    /// In h2 0.4.20, a poll of the connection reads and handles frames until something is pending. Only then does it encode and
    /// write frames of responses. Handling a reset, a GOAWAY, an error or the end may discard frames of responses, and needs none
    /// of them as a reply. So all frames dropped between two calls of the I/O object meet the same fate. If they were encoded,
    /// the next call is a write with an empty DATA frame that no earlier call contained. The exception is a stream that hyper
    /// gives up by itself: its frames are discarded among those that are encoded, and its delivery is known.
    pub(super) fn dropped_last_frame(&self, guard: ReleaseGuard, ended: Option<Delivery>) {
        let mut state = self.lock();
        if state.gone {
            drop(state);
            guard.end(ended.unwrap_or(Delivery::Disconnected), 0);
            return;
        }
        state.dropped.push((guard, ended));
        self.dropping.store(true, Ordering::Release);
    }

    /// Records a write. `last_frame`: it contains an empty DATA frame that no earlier call contained.
    #[inline]
    pub(super) fn wrote(&self, last_frame: bool) {
        if self.dropping.load(Ordering::Acquire) {
            self.settle_dropped(last_frame);
        }
    }

    /// Records a call other than a write of a last frame.
    #[inline]
    pub(super) fn did_not_write(&self) {
        self.wrote(false);
    }

    fn settle_dropped(&self, written: bool) {
        let mut ended = Vec::new();
        {
            let mut state = self.lock();
            self.dropping.store(false, Ordering::Relaxed);
            let written = written && !state.closed;
            for (guard, known) in mem::take(&mut state.dropped) {
                match known {
                    None if written => state.waiting.push(guard),
                    known => ended.push((guard, known.unwrap_or(Delivery::Disconnected))),
                }
            }
            self.count_waiting(&state);
        }
        for (guard, delivery) in ended {
            guard.end(delivery, 0);
        }
    }

    /// Marks the connection as unflushed: a write returned or is pending, or a flush did not succeed.
    pub(super) fn mark_unflushed(&self) {
        self.writing.store(UNFLUSHED, Ordering::Relaxed);
    }

    pub(super) fn flushed(&self) {
        self.writing.store(0, Ordering::Relaxed);
        if self.waiting.load(Ordering::Acquire) > 0 {
            let (mut flushed, held) = self.take_waiting(false);
            if !flushed.is_empty() {
                self.stop_counting();
            }
            for guard in flushed.drain(..) {
                guard.sent();
            }
            self.keep_room(flushed);
            held.into_iter().for_each(Waker::wake);
        }
    }

    /// Records that the I/O object was dropped.
    pub(super) fn gone(&self) {
        self.lock().gone = true;
        self.close();
    }

    /// Ends the connection: nothing more will be flushed.
    pub(super) fn close(&self) {
        self.did_not_write();
        let (lost, held) = self.take_waiting(true);
        let taken = if lost.is_empty() { 0 } else { self.taken() };
        for guard in lost {
            guard.end(Delivery::Disconnected, taken);
        }
        held.into_iter().for_each(Waker::wake);
    }

    fn take_waiting(&self, close: bool) -> (Vec<ReleaseGuard>, Option<Waker>) {
        let mut state = self.lock();
        state.closed |= close;
        self.waiting.store(0, Ordering::Relaxed);
        (mem::take(&mut state.waiting), state.held.take())
    }

    fn count_waiting(&self, state: &State) {
        self.waiting.store(state.waiting.len() + usize::from(state.held.is_some()), Ordering::Release);
    }

    /// Keeps an empty list for later responses, unless it is exceptionally large.
    fn keep_room(&self, empty: Vec<ReleaseGuard>) {
        let mut state = self.lock();
        if state.waiting.capacity() == 0 && empty.capacity() <= 16 {
            state.waiting = empty;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connection {
    /// Nothing of the connection is left: no I/O object, request or body.
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.gone();
        }
    }
}

impl State {
    fn taken(&self) -> u64 {
        self.taken.as_ref().map_or(0, BodyCounter::body)
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}
