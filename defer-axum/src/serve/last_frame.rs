//! The last frame of an HTTP/2 response, which tells when h2 is done with it.

use std::sync::Arc;

use bytes::Bytes;
use defer_core::Delivery;
use tokio::task;

use super::connection::Connection;
use crate::release::ReleaseGuard;

/// Returns an empty last frame. It releases the jobs once it has been sent, or can no longer be sent.
pub(super) fn last_frame(connection: &Arc<Connection>, guard: ReleaseGuard) -> Bytes {
    Bytes::from_owner(LastFrame {
        guard: Some(guard),
        connection: connection.clone(),
        stream: task::try_id(),
    })
}

/// The owner of an empty last frame. It is dropped when h2 has written the frame, or throws it away.
///
/// The frame belongs to one stream, whatever memory the stream's data shares with others, and follows all of that data. It
/// cannot be split and needs no window: hyper 1.12 and h2 0.4.20 pass an empty frame on without one.
struct LastFrame {
    guard: Option<ReleaseGuard>,
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
    /// - The connection's task writes frames. If the task of the frame's own stream drops it, it was never handed over: the
    ///   stream was reset before.
    /// - The connection's task throws frames away while it handles what it has read (a reset, a GOAWAY, an error, the
    ///   end): [`Connection::is_receiving`].
    ///
    /// h2 drops a frame as short as this once it has copied it into its write buffer, which is empty when the next flush
    /// succeeds. That flush means that the frame was sent.
    fn drop(&mut self) {
        let Some(guard) = self.guard.take() else { return };
        let handed_over = self.stream.is_none() || self.stream != task::try_id();
        if handed_over && !self.connection.is_receiving() {
            self.connection.sent_with_next_flush(guard);
        } else {
            guard.end(Delivery::Disconnected, 0);
        }
    }
}
