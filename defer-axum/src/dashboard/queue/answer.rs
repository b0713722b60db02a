//! Answers of the queue, which is user code.

use std::{future::Future, mem, time::Duration};

use defer_core::{BoxError, Runner, queue::InspectQueue};
use tokio::time::timeout;

/// How long the queue may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const TOO_LONG: &str = "The queue did not answer within 5 s.";

/// Returns the runner's queue, if that can be looked into.
pub(super) fn inspectable(runner: &Runner) -> Option<&dyn InspectQueue> {
    runner.queue()?.inspect()
}

/// Waits for an answer of the queue, which may fail, panic or hang, also when it is dropped: it has a task of its own. Returns what
/// to tell the page then. Not the queue's own words: they may name a user, a host or a password.
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
        // The payload of the panic may panic when it is dropped.
        mem::forget(panicked);
        Err("The queue panicked.")
    })
}
