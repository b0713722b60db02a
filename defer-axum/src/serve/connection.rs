//! What is known of one connection's progress.
//!
//! Hides how a server's reads, writes and flushes tell that a response has left.

use std::{
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use defer_core::Delivery;
use tokio::task;

use super::taken::Taken;
use crate::middleware::Ending;

/// What a connection's I/O object and its responses share.
#[derive(Default)]
pub(crate) struct Connection {
    state: Mutex<State>,
    /// How many wait in `State` for a flush, readable without the lock.
    waiting: AtomicUsize,
    /// The last thing that happened was a read of something.
    receiving: AtomicBool,
    /// The last thing that was done about writing is not a flush that succeeded.
    unflushed: AtomicBool,
    /// `State` counts what is written (HTTP/1).
    counting: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Responses that are complete but for a flush.
    waiting: Vec<Ending>,
    /// Wakes the response that is held back until what is before it was flushed (HTTP/1).
    held: Option<Waker>,
    /// What was written of the response under way (HTTP/1).
    taken: Option<Taken>,
    /// Nothing more can be sent.
    closed: bool,
}

impl Connection {
    /// Everything of a response has been handed to the server: it is sent when the next flush succeeds. On a
    /// connection that is closed, or is before that, the client was gone.
    pub(super) fn sent_with_next_flush(&self, ending: Ending) {
        let mut state = self.lock();
        if state.closed {
            let taken = state.taken();
            drop(state);
            ending.end(Delivery::Disconnected, taken);
            return;
        }
        state.waiting.push(ending);
        self.count_waiting(&state);
    }

    /// The last frame of an HTTP/2 response: an empty one, which tells when h2 is done with it.
    pub(super) fn last_frame(self: &Arc<Self>, ending: Ending) -> Bytes {
        Bytes::from_owner(LastFrame {
            ending: Some(ending),
            connection: self.clone(),
            stream: task::try_id(),
        })
    }

    /// Waits until what is before an HTTP/1 response was flushed; the next byte that is written is then the first of its
    /// head, or of an interim one. Its body is counted from there on.
    ///
    /// It delays nothing: hyper encodes one response after another, and tries to flush each. Where that succeeded,
    /// nothing is left of it. Where it did not, this response would have stood behind it in the buffer.
    pub(super) fn poll_begin(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        let waits = self.unflushed.load(Ordering::Relaxed) && !state.closed;
        let old = if waits { state.held.replace(cx.waker().clone()) } else { state.held.take() };
        if !waits {
            state.taken = Some(Taken::new());
            self.counting.store(true, Ordering::Relaxed);
        }
        self.count_waiting(&state);
        drop(state);
        drop(old);
        if waits { Poll::Pending } else { Poll::Ready(()) }
    }

    /// How many body bytes of the response under way were written (HTTP/1). The server may have written what follows it
    /// too.
    pub(super) fn taken(&self) -> u64 {
        self.lock().taken()
    }

    /// Whether nothing more can be sent.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Whether [`wrote`](Self::wrote) wants to know.
    pub(super) fn is_counting(&self) -> bool {
        self.counting.load(Ordering::Relaxed)
    }

    pub(super) fn wrote<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) {
        if let Some(taken) = &mut self.lock().taken {
            parts.into_iter().for_each(|part| taken.wrote(part));
        }
    }

    /// Counts no further: the response under way has no jobs.
    pub(super) fn stop_counting(&self) {
        self.counting.store(false, Ordering::Relaxed);
    }

    /// A read is done, or has nothing to read.
    pub(super) fn received(&self, something: bool) {
        self.receiving.store(something, Ordering::Release);
    }

    /// Something was written, or could not be, or is still to be flushed.
    pub(super) fn writes(&self) {
        // As all that is about HTTP/1 alone, this is read by the same task.
        self.unflushed.store(true, Ordering::Relaxed);
    }

    pub(super) fn flushed(&self) {
        self.unflushed.store(false, Ordering::Relaxed);
        if self.waiting.load(Ordering::Acquire) > 0 {
            let (mut flushed, held) = self.take_waiting(false);
            if !flushed.is_empty() {
                self.stop_counting();
            }
            for ending in flushed.drain(..) {
                ending.sent();
            }
            self.keep_room(flushed);
            held.into_iter().for_each(Waker::wake);
        }
    }

    /// What waits for a flush waits in vain.
    pub(super) fn close(&self) {
        let (lost, held) = self.take_waiting(true);
        let taken = if lost.is_empty() { 0 } else { self.taken() };
        for ending in lost {
            ending.end(Delivery::Disconnected, taken);
        }
        held.into_iter().for_each(Waker::wake);
    }

    fn take_waiting(&self, close: bool) -> (Vec<Ending>, Option<Waker>) {
        let mut state = self.lock();
        state.closed |= close;
        self.waiting.store(0, Ordering::Relaxed);
        (mem::take(&mut state.waiting), state.held.take())
    }

    fn count_waiting(&self, state: &State) {
        self.waiting.store(state.waiting.len() + usize::from(state.held.is_some()), Ordering::Release);
    }

    /// Keeps an empty list for the responses to come, unless it is that of an exceptional many.
    fn keep_room(&self, empty: Vec<Ending>) {
        let mut state = self.lock();
        if state.waiting.capacity() == 0 && empty.capacity() <= 16 {
            state.waiting = empty;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn taken(&self) -> u64 {
        self.taken.as_ref().map_or(0, Taken::body)
    }
}

/// The owner of an empty last frame. It is dropped when the frame has been written, or is thrown away.
///
/// The frame belongs to one stream, whatever memory that shares with others, and follows all of the stream's data. It
/// cannot be cut, and needs no window: hyper 1.12 and h2 0.4.20 pass an empty frame on without one.
struct LastFrame {
    ending: Option<Ending>,
    connection: Arc<Connection>,
    /// The task of the frame's stream.
    stream: Option<task::Id>,
}

impl AsRef<[u8]> for LastFrame {
    fn as_ref(&self) -> &[u8] {
        &[]
    }
}

impl Drop for LastFrame {
    /// Tells a frame that was written from one that was thrown away. As of h2 0.4.20:
    ///
    /// - Frames are written by the connection's task. Where the task of the frame's own stream drops it, that has not
    ///   handed it over: the stream was reset before.
    /// - The connection's task throws frames away while it handles what it has read (a reset, a GOAWAY, an error, the
    ///   end), and writes frames after it has read until nothing is left. So the last thing that happened to the I/O
    ///   object is a read of something in the first case, and never is in the second.
    ///
    /// h2 lets go of a frame as short as this when it has copied it into its write buffer, which is emptied before the
    /// next flush succeeds: that flush says that it was sent.
    fn drop(&mut self) {
        let Some(ending) = self.ending.take() else { return };
        let handed_over = self.stream.is_none() || self.stream != task::try_id();
        if handed_over && !self.connection.receiving.load(Ordering::Acquire) {
            self.connection.sent_with_next_flush(ending);
        } else {
            ending.end(Delivery::Disconnected, 0);
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}
