//! The last frame of an HTTP/2 response. It shows when h2 is done with the response.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use defer_core::Delivery;
use tokio::task;

use super::connection::Connection;
use crate::release::ReleaseGuard;

/// The delivery of a response that was aborted after its last frame. h2 discards that frame if it has not written it yet.
pub(super) type BrokenOff = Arc<OnceLock<Delivery>>;

/// Returns an empty last frame. It releases the jobs once it has been sent, or can no longer be sent.
pub(super) fn last_frame(
    connection: &Arc<Connection>,
    guard: ReleaseGuard,
    broken_off: Option<BrokenOff>,
) -> Bytes {
    Bytes::from_owner(LastFrame {
        guard: Some(guard),
        connection: connection.clone(),
        stream: task::try_id(),
        broken_off,
    })
}

/// The owner of an empty last frame. It is dropped when h2 has written the frame, or discards it.
///
/// The frame belongs to one stream, whatever memory the stream's data shares with others, and follows all of that data. It
/// cannot be split and needs no window: hyper 1.12 and h2 0.4.20 pass an empty frame on without one.
struct LastFrame {
    guard: Option<ReleaseGuard>,
    connection: Arc<Connection>,
    /// The task of the frame's stream.
    stream: Option<task::Id>,
    broken_off: Option<BrokenOff>,
}

impl AsRef<[u8]> for LastFrame {
    fn as_ref(&self) -> &[u8] {
        &[]
    }
}

impl Drop for LastFrame {
    /// Only the connection's task writes frames (h2 0.4.20). If the task of the frame's own stream drops the frame, h2 never
    /// got it: the stream was reset before. Otherwise the connection finds out.
    ///
    /// h2 drops such a short frame once it has copied it into its write buffer. The buffer is empty at the next successful flush,
    /// so that flush means that the frame was sent.
    fn drop(&mut self) {
        let Some(guard) = self.guard.take() else { return };
        let handed_over = self.stream.is_none() || self.stream != task::try_id();
        let ended = match self.broken_off.as_ref().and_then(|broken_off| broken_off.get()) {
            None if handed_over => None,
            ended => Some(ended.copied().unwrap_or(Delivery::Disconnected)),
        };
        self.connection.dropped_last_frame(guard, ended);
    }
}
