//! Waits for the queue, which is user code.

use std::{future::Future, mem, time::Duration};

use defer_core::{BoxError, Runner, queue::InspectQueue};
use tokio::time::timeout;

/// The longest that the queue may take to reply.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const TOO_LONG: &str = "The queue did not answer within 5 s.";

/// Returns the runner's queue, if it can be inspected.
pub(super) fn inspectable(runner: &Runner) -> Option<&dyn InspectQueue> {
    runner.queue()?.inspect()
}

/// Waits for a reply of the queue. It may fail, panic or hang, even while it is dropped, so it runs in its own task. On failure,
/// returns a text for the page. That is not the queue's error, which may name a user, a host or a password.
pub(super) async fn answer_of<T: Send + 'static>(
    answer: impl Future<Output = Result<T, BoxError>> + Send + 'static,
) -> Result<T, &'static str> {
    let logged = async {
        answer.await.map_err(|error| {
            tracing::warn!(target: "defer", %error, "the dashboard could not ask the queue");
            "The queue could not be asked. The log says why."
        })
    };
    let limited = async { timeout(ANSWER_WITHIN, logged).await.unwrap_or(Err(TOO_LONG)) };
    tokio::spawn(limited).await.unwrap_or_else(|panicked| {
        // Dropping the panic's payload may panic.
        mem::forget(panicked);
        Err("The queue panicked.")
    })
}
