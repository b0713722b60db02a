//! The meaning of the numbers in a row, and of a row that a change has found.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use defer_core::{JobId, JobStatus, Progress, queue::NameCounts};

use super::interface::{Change, ChangeKind, Changed, StoredEnd};

pub(crate) const HELD: i16 = 0;
pub(crate) const READY: i16 = 1;
pub(crate) const TAKEN: i16 = 2;
pub(crate) const DONE: i16 = 3;
pub(crate) const FAILED: i16 = 4;
pub(crate) const SKIPPED: i16 = 5;
pub(crate) const CANCELLED: i16 = 6;
pub(crate) const DUPLICATE: i16 = 7;

/// The largest number in a row.
const MOST: i64 = (1 << 53) - 1;

/// Limits a delay, so that the time it is added to still fits into a row.
pub(crate) fn delay(delay: i64) -> i64 {
    delay.clamp(0, MOST / 2)
}

/// Limits a number of attempts, so that it fits into a row.
pub(crate) fn attempts(attempts: i64) -> i64 {
    attempts.clamp(0, i32::MAX.into())
}

/// The number of failed jobs that are run again or deleted in one transaction.
pub(crate) const FAILURE_BATCH: usize = 1_000;

/// Returns how far to count the jobs of each kind and name, given the number of groups. The cost therefore does not grow with the
/// number of jobs.
pub(crate) fn count_limit(groups: usize) -> i64 {
    i64::try_from(20_000 / groups.max(1)).unwrap_or_default().clamp(100, 10_000)
}

/// Returns the counts of a name. They begin at zero.
pub(crate) fn of_name(names: &mut BTreeMap<String, NameCounts>, name: String) -> &mut NameCounts {
    names.entry(name.clone()).or_insert_with(|| NameCounts::new(name))
}

/// Converts milliseconds. They may be negative after a clock was set back, which returns zero.
pub(crate) fn millis(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}

/// Returns how long something has been due. `None` if it is not due.
pub(crate) fn waited(millis: i64) -> Option<Duration> {
    (millis > 0).then(|| self::millis(millis))
}

/// Removes NULs from a text, because not every database stores them.
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    match text.contains('\0') {
        true => text.replace('\0', "\u{fffd}").into(),
        false => text.into(),
    }
}

/// Returns the state, the attempts and the error of a job with this end.
pub(crate) fn of_end(end: &StoredEnd) -> (i16, Option<i64>, Option<&str>) {
    match end {
        StoredEnd::Done { attempts } => (DONE, Some(*attempts), None),
        StoredEnd::Failed { attempts, error } => (FAILED, Some(*attempts), Some(error)),
        StoredEnd::Skipped => (SKIPPED, None, None),
        StoredEnd::Cancelled => (CANCELLED, None, None),
    }
}

/// A row that a change did not change.
pub(crate) struct Found {
    pub(crate) state: i16,
    /// Whether the holder of the change has the row, or was the last to have it.
    pub(crate) is_ours: bool,
    pub(crate) claim: i64,
    pub(crate) duplicate_of: Option<String>,
}

impl Found {
    /// Returns what an earlier try of this change did, if anything.
    pub(crate) fn made(&self, change: &Change) -> Option<Changed> {
        if !self.is_ours {
            return None;
        }
        if !change.children.is_empty() && self.state != DUPLICATE {
            // The children's rows decide, because another process may have changed this row.
            return None;
        }
        let same = self.claim == change.claim;
        let raised = self.claim == change.claim + 1;
        let made = match &change.kind {
            // Other processes do not change a job that has ended, and this holder makes only one change under a claim.
            ChangeKind::End(StoredEnd::Cancelled) => self.state == CANCELLED,
            ChangeKind::End(end) => change.again && same && self.state == of_end(end).0,
            ChangeKind::Progress { .. } => false,
            ChangeKind::Pass => change.again && same && matches!(self.state, HELD | TAKEN),
            ChangeKind::Ready { .. } if change.again && same && self.state == DUPLICATE => {
                let of: JobId = self.duplicate_of.as_deref()?.parse().ok()?;
                return Some(Changed::Duplicate(of));
            }
            ChangeKind::Retry { .. } | ChangeKind::Ready { .. } => {
                // Another job may have replaced it since.
                change.again && raised && matches!(self.state, READY | CANCELLED | DUPLICATE)
            }
        };
        made.then_some(Changed::Made)
    }
}

/// Returns the progress of a job as JSON, if an attempt is running under this claim and has reported some. A held job with
/// progress is not waiting.
pub(crate) fn progress_json(state: i16, claim: i64, progress: Option<&str>) -> Option<&str> {
    let (of, json) = progress.filter(|_| matches!(state, HELD | TAKEN))?.split_once(' ')?;
    (of.parse() == Ok(claim)).then_some(json)
}

/// Returns the status of a job that has reported progress.
pub(crate) fn in_progress(state: i16, claim: i64, progress: Option<&str>) -> Option<JobStatus> {
    progress_json(state, claim, progress).and_then(Progress::from_json).map(JobStatus::in_progress)
}

/// Returns the status of a job.
pub(crate) fn status(state: i16, error: Option<&str>, duplicate_of: Option<&str>) -> Option<JobStatus> {
    Some(match state {
        HELD | READY => JobStatus::Pending,
        TAKEN => JobStatus::Running,
        DONE => JobStatus::Succeeded,
        FAILED => JobStatus::failed(error.unwrap_or_default()),
        SKIPPED => JobStatus::Skipped,
        CANCELLED => JobStatus::Cancelled,
        DUPLICATE => match duplicate_of.and_then(|of| of.parse().ok()) {
            Some(of) => JobStatus::duplicate(of),
            None => JobStatus::Cancelled,
        },
        _ => return None,
    })
}
