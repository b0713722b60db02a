use defer_axum::{
    Deferrable, JobError,
    event::{JobEvent, JobEventKind},
};
use tokio::sync::mpsc;

use crate::{Feed, SendWelcome, SignUps};

/// A failed attempt to send a mail.
struct Failure {
    job: String,
    problem: String,
    given_up: bool,
}

/// Stores what a [`SendWelcome`] cannot store itself: that an attempt failed, timed out or panicked, and whether another
/// follows. Returns a hook for `on_event`.
///
/// The runner calls the hook between two jobs, so it only passes the event on; a task writes it.
pub(crate) fn record_failures(signups: SignUps, feed: Feed) -> impl Fn(&JobEvent) + Send + Sync + 'static {
    let (failures, mut received) = mpsc::unbounded_channel::<Failure>();
    tokio::spawn(async move {
        while let Some(failure) = received.recv().await {
            let Failure { job, problem, given_up } = failure;
            match signups.attempt_failed(&job, &problem, given_up).await {
                Ok(Some(id)) => feed.publish(id),
                Ok(None) => {}
                Err(error) => tracing::error!(%job, %error, "could not note a failed mail"),
            }
        }
    });
    move |event| {
        if event.name() != SendWelcome::NAME {
            return;
        }
        if let Some((error, given_up)) = failure(event.kind()) {
            let job = event.id().to_string();
            let problem = format!("Attempt {} failed: {error}", event.attempt());
            // An error means that the task is gone: the process is ending.
            let _ = failures.send(Failure { job, problem, given_up });
        }
    }
}

/// Returns the error of an attempt and whether it was the last. `None` if it did not fail.
///
/// A job that a shutdown stops has not failed: the queue keeps it.
fn failure(kind: JobEventKind) -> Option<(JobError, bool)> {
    match kind {
        JobEventKind::Retrying { error, .. } => Some((error, false)),
        JobEventKind::Failed { error, .. }
        | JobEventKind::Panicked { error, .. }
        | JobEventKind::TimedOut { error, .. } => Some((error, true)),
        _ => None,
    }
}
