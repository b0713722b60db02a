//! Converts a job and its response to a row and back.

use std::time::Duration;

use defer_core::{
    Condition, Delivery, ResponseInfo,
    queue::{self, AtMostEvery, Envelope},
};
use serde::{Deserialize, Serialize};

use crate::{
    error::Error,
    store::{NewJob, Replace, Throttle},
};

/// The number of bytes of an error that are stored.
const MAX_ERROR: usize = 4096;

/// Converts a job to a row.
///
/// # Errors
///
/// If it is larger than a job may be, or is not text.
pub(crate) fn new_job(job: Envelope, max_payload: usize) -> Result<NewJob, Error> {
    let size = job.payload.len();
    if size > max_payload {
        let reason = format!("it has {size} bytes, and the queue takes {max_payload}: see `max_payload`");
        return Err(Error::Encode(reason.into()));
    }
    let payload = String::from_utf8(job.payload).map_err(|error| Error::Encode(error.into()))?;
    let metadata = serde_json::to_string(&job.metadata).map_err(|error| Error::Encode(error.into()))?;
    Ok(NewJob {
        id: job.id,
        name: text(&job.name),
        payload,
        metadata,
        priority: job.policy.priority(),
        condition: match job.condition {
            Condition::Success => 1,
            Condition::When => 2,
            _ => 0,
        },
        status: job.status.map(|status| status.as_u16()),
        delay: millis(job.delay),
        serial: job.serial.as_deref().map(text),
        unique: job.unique.as_deref().map(text),
        replace: job.replace.map(replace),
        throttle: job.at_most.as_ref().map(throttle),
    })
}

/// Converts the time at which a replacing job is due.
pub(crate) fn replace(replace: queue::Replace) -> Replace {
    match replace {
        queue::Replace::Within(longest) => Replace::Within(millis(longest)),
        _ => Replace::AtItsTime,
    }
}

pub(crate) fn throttle(at_most: &AtMostEvery) -> Throttle {
    Throttle { key: text(&at_most.key), every: millis(at_most.every) }
}

/// The longest delay, in milliseconds. Added to the current time, it still fits into a row.
const LONGEST_DELAY: i64 = 1 << 52;

/// Returns a duration in milliseconds, rounded up so that a job does not start early.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX).min(LONGEST_DELAY)
}

/// Returns a text that every database can store: Postgres does not allow NUL.
pub(crate) fn text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Returns an error's text in the form that is stored.
pub(super) fn error(error: &str) -> String {
    let end = (0..=error.len().min(MAX_ERROR)).rev().find(|at| error.is_char_boundary(*at));
    text(&error[..end.unwrap_or_default()])
}

/// How a response ended, in the form that a row has.
#[derive(Serialize, Deserialize)]
struct Outcome {
    status: Option<u16>,
    delivery: String,
    #[serde(default)]
    bytes_sent: u64,
    #[serde(default)]
    elapsed_ms: u64,
}

pub(super) fn outcome(response: &ResponseInfo) -> Option<String> {
    let outcome = Outcome {
        status: response.status().map(|status| status.as_u16()),
        delivery: response.delivery().as_str().to_owned(),
        bytes_sent: response.bytes_sent(),
        elapsed_ms: u64::try_from(response.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    serde_json::to_string(&outcome).ok()
}

/// Reads how a response ended from a row. If its process died before that, only the status may be known.
pub(crate) fn response(outcome: Option<&str>, status: Option<u16>) -> Option<ResponseInfo> {
    let Some(outcome) = outcome.and_then(|outcome| serde_json::from_str::<Outcome>(outcome).ok()) else {
        let status = status?.try_into().ok();
        return Some(ResponseInfo::new(Delivery::Unknown).with_status(status));
    };
    let response = ResponseInfo::new(Delivery::from_name(&outcome.delivery))
        .with_status(outcome.status.and_then(|status| status.try_into().ok()))
        .with_bytes_sent(outcome.bytes_sent)
        .with_elapsed(Duration::from_millis(outcome.elapsed_ms));
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_read_as_it_was_written_and_without_one_the_status_is_known() {
        let written = ResponseInfo::new(Delivery::Disconnected)
            .with_status(200_u16.try_into().ok())
            .with_bytes_sent(7)
            .with_elapsed(Duration::from_millis(9));
        let read = response(outcome(&written).as_deref(), None).map(|read| format!("{read:?}"));
        assert_eq!(read, Some(format!("{written:?}")));
        let unknown =
            response(None, Some(502)).map(|read| (read.delivery(), read.status().map(|s| s.as_u16())));
        assert_eq!(unknown, Some((Delivery::Unknown, Some(502))));
        assert!(response(None, None).is_none());
    }

    #[test]
    fn a_delay_is_never_shorter_than_it_was_asked_for() {
        let delays = [Duration::ZERO, Duration::from_nanos(1), Duration::from_millis(1), Duration::MAX];
        assert_eq!(delays.map(millis), [0, 1, 1, LONGEST_DELAY]);
    }

    #[test]
    fn a_long_error_is_cut_between_two_characters_and_has_no_nul() {
        let stored = error(&format!("\0{}", "ä".repeat(5_000)));
        assert!(stored.starts_with('\u{fffd}') && stored.len() <= MAX_ERROR + 2 && stored.ends_with('ä'));
    }
}
