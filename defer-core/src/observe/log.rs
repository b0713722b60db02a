//! Logs the events of jobs.

use std::fmt::{self, Write as _};

use tracing::field::display;

use super::event::{EventRequest, JobEventKind};
use crate::{
    model::{
        error::{JobError, caught},
        job_type::JobRef,
    },
    primitives::panic::drop_quietly,
};

/// Logs an event of a job. Inside the job's span, it does not repeat the span's fields. `request` is only called for an enabled
/// event. Nothing is kept between the fields, because each event would have to drop it.
macro_rules! event {
    ($level:ident, $job:ident, $request:ident, $($rest:tt)*) => {{
        let JobRef { id, attempt, in_span, .. } = $job;
        let request = || (!in_span).then($request);
        tracing::$level!(
            target: "defer",
            job = (!in_span).then(|| $job.name()),
            id = (!in_span).then(|| display(id)),
            attempt = (!in_span).then_some(attempt),
            request = request().and_then(|request| request.route()),
            request_id = request().and_then(|request| request.request_id),
            $($rest)*
        )
    }};
}

/// Logs an event. An error's `Display` and a subscriber are user code, and may panic.
pub(super) fn log(job: JobRef, kind: &JobEventKind, request: &dyn Fn() -> EventRequest) {
    let logged = match kind {
        JobEventKind::Deferred | JobEventKind::Taken | JobEventKind::Started => return,
        // Most jobs end this way, so it is a small function of its own.
        JobEventKind::Succeeded { elapsed } => caught(|| event!(debug, job, request, ?elapsed, "job done")),
        kind => caught(|| log_other(job, kind, request)),
    };
    if let Err(panic) = logged {
        let JobRef { id, attempt, .. } = job;
        drop_quietly(panic);
        tracing::error!(target: "defer", job = job.name(), %id, attempt, "a job's error panicked while it was formatted");
    }
}

/// Logs the start of a batch. `batch` is the job in the batch's context.
pub(crate) fn log_batch(batch: JobRef, jobs: usize) {
    let (name, id) = (batch.name(), batch.id);
    let logged = caught(|| tracing::debug!(target: "defer", job = name, %id, jobs, "a batch starts"));
    logged.unwrap_or_else(drop_quietly);
}

/// Logs how `Job::failed` itself failed.
#[cold]
pub(crate) fn log_failed_hook(job: JobRef, how: &str, error: &JobError) {
    let (name, id, error) = (job.name(), job.id, Escaped(error));
    let logged =
        caught(|| tracing::error!(target: "defer", job = name, %id, %error, "a job's `failed` {how}"));
    logged.unwrap_or_else(drop_quietly);
}

#[cold]
fn log_other(job: JobRef, kind: &JobEventKind, request: &dyn Fn() -> EventRequest) {
    macro_rules! event_of {
        ($level:ident, $($rest:tt)*) => { event!($level, job, request, $($rest)*) };
    }
    macro_rules! failed {
        ($level:ident, $error:expr, $($rest:tt)*) => {{
            let error = display(Escaped($error));
            event_of!($level, error, $($rest)*)
        }};
    }
    match kind {
        JobEventKind::Deferred
        | JobEventKind::Taken
        | JobEventKind::Started
        | JobEventKind::Succeeded { .. } => {}
        JobEventKind::Retrying { error, delay, .. } => {
            failed!(warn, error, ?delay, "job failed, trying again");
        }
        JobEventKind::Stuck { elapsed } => {
            event_of!(
                warn,
                ?elapsed,
                "job is blocking its thread, so that nothing can stop it: let it await, or mark it `#[defer(blocking)]`"
            );
        }
        JobEventKind::Snoozed { delay, .. } => event_of!(debug, ?delay, "job snoozed"),
        JobEventKind::Failed { error, elapsed } => failed!(error, error, ?elapsed, "job failed"),
        JobEventKind::Panicked { error, elapsed } => failed!(error, error, ?elapsed, "job panicked"),
        JobEventKind::TimedOut { error, elapsed } => failed!(error, error, ?elapsed, "job timed out"),
        JobEventKind::Skipped => event_of!(debug, "job skipped: its condition was false"),
        JobEventKind::Cancelled => event_of!(debug, "job cancelled"),
        JobEventKind::Duplicate { of } => {
            event_of!(debug, %of, "job left out: another with its key waits, has replaced it or has just started")
        }
        JobEventKind::Shed => event_of!(warn, "job shed: too many are pending"),
        JobEventKind::Queued => event_of!(debug, "job queued"),
        JobEventKind::QueueFailed { error } => failed!(
            warn,
            error,
            "the queue did not take a job as it is: it runs in this process, unless that is shutting down or refuses the request"
        ),
        JobEventKind::Abandoned => {
            event_of!(
                error,
                "job abandoned: it had not ended by the deadline of the shutdown, or its runtime was dropped"
            )
        }
    }
}

/// An error on one line. It may contain data from a client, whose control characters could end the line or color the next one.
struct Escaped<'a>(&'a JobError);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escape(f), "{}", self.0)
    }
}

struct Escape<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Escape<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for char in text.chars() {
            match char.is_control() {
                true => write!(self.0, "{}", char.escape_default())?,
                false => self.0.write_char(char)?,
            }
        }
        Ok(())
    }
}
