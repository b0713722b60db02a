//! Jobs as a storage and a worker exchange them.

use std::{collections::BTreeMap, time::Duration};

#[cfg(any(feature = "sqlite", feature = "postgres"))]
use defer_core::queue::QueueCounts as Counts;
use defer_core::{
    JobStatus,
    queue::{Envelope, FailedJob},
};

/// The key of a job's name in its metadata.
pub(crate) const NAME: &str = "job";

/// That of its unique key. apalis' tables have a column for it, by which they allow one of each.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(super) const UNIQUE: &str = "unique";

/// A job that a worker took.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) id: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) metadata: BTreeMap<String, String>,
    /// How many attempts it has had.
    pub(crate) attempts: u32,
    /// How many attempts it is allowed, as set when it was pushed.
    pub(crate) max_attempts: u32,
}

/// How a job ended that a worker took.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    pub(crate) id: String,
    /// How many attempts it has had by now.
    pub(crate) attempts: u32,
    pub(crate) max_attempts: u32,
    pub(crate) fate: Fate,
}

#[derive(Clone, Debug)]
pub(crate) enum Fate {
    Done,
    Failed {
        error: String,
    },
    Retry {
        error: String,
        delay: Duration,
    },
    /// It is to be run again, and this attempt is not counted.
    Release {
        delay: Duration,
    },
}

/// Returns what is stored of a job besides its payload.
pub(super) fn metadata(job: &Envelope) -> BTreeMap<String, String> {
    let mut metadata = job.metadata.clone();
    metadata.insert(NAME.into(), job.name.clone());
    metadata
}

pub(super) fn max_attempts(job: &Envelope) -> i32 {
    i32::try_from(job.policy.tries()).unwrap_or(i32::MAX)
}

impl Finished {
    /// Returns the status, the result as apalis writes it, and how long the job waits if it is to run again.
    pub(super) fn row(&self) -> (&'static str, Option<String>, Option<Duration>) {
        let result = |error: &str| Some(serde_json::json!({ "Err": error }).to_string());
        match &self.fate {
            Fate::Done => ("Done", Some(r#"{"Ok":null}"#.to_owned()), None),
            // What is `Failed` with attempts left is run again by apalis.
            Fate::Failed { error } if self.attempts < self.max_attempts => ("Killed", result(error), None),
            Fate::Failed { error } => ("Failed", result(error), None),
            Fate::Retry { error, delay } => ("Pending", result(error), Some(*delay)),
            Fate::Release { delay } => ("Pending", None, Some(*delay)),
        }
    }
}

#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(super) fn counts([pending, running, done, failed]: [i64; 4], oldest: Option<i64>) -> Counts {
    let count = |count: i64| u64::try_from(count).unwrap_or_default();
    let oldest_due = oldest.map(|seconds| Duration::from_secs(count(seconds)));
    let mut counts = Counts::default();
    counts.pending = count(pending);
    counts.running = count(running);
    counts.done = count(done);
    counts.failed = count(failed);
    counts.oldest_due = oldest_due;
    counts
}

pub(super) fn failed(
    id: &str,
    name: Option<&String>,
    attempts: i64,
    result: Option<&str>,
) -> Option<FailedJob> {
    let attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
    Some(FailedJob::new(id.parse().ok()?, name.cloned().unwrap_or_default(), attempts, error(result)))
}

/// Converts apalis' status of a job. One that is `Failed` is taken to have no attempts left.
pub(super) fn status(status: &str, result: Option<&str>) -> JobStatus {
    match status {
        "Queued" | "Running" => JobStatus::Running,
        "Done" => JobStatus::Succeeded,
        "Failed" | "Killed" => JobStatus::failed(&error(result)),
        _ => JobStatus::Pending,
    }
}

/// Returns the error in a result, or the whole result if it is written in another way.
fn error(result: Option<&str>) -> String {
    let error = result.and_then(|result| serde_json::from_str::<serde_json::Value>(result).ok());
    let error = error.and_then(|result| result.get("Err")?.as_str().map(str::to_owned));
    error.unwrap_or_else(|| result.unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use defer_core::{JobId, Policy};
    use proptest::prelude::*;

    use super::*;

    fn fates() -> impl Strategy<Value = Fate> {
        prop_oneof![
            Just(Fate::Done),
            ".*".prop_map(|error| Fate::Failed { error }),
            ".*".prop_map(|error| Fate::Retry { error, delay: Duration::from_secs(1) }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn how_a_job_ended_is_read_as_it_was_stored(fate in fates(), attempts in 0..4_u32, max_attempts in 0..4_u32) {
            let finished = Finished { id: String::new(), attempts, max_attempts, fate: fate.clone() };
            let (state, result, _) = finished.row();
            let read = status(state, result.as_deref());
            match fate {
                Fate::Failed { error } => {
                    prop_assert_eq!(read, JobStatus::failed(&error));
                    let id = JobId::unique();
                    let failed = failed(&id.to_string(), None, attempts.into(), result.as_deref()).unwrap();
                    prop_assert_eq!((failed.id, failed.error), (id, error));
                }
                Fate::Done => prop_assert_eq!(read, JobStatus::Succeeded),
                Fate::Retry { .. } | Fate::Release { .. } => prop_assert_eq!(read, JobStatus::Pending),
            }
        }

        /// What another program may have put into the tables.
        #[test]
        fn any_row_is_read_and_one_without_an_id_is_no_failed_job(
            id in prop_oneof![".*", "[0-7][0-9A-HJKMNP-TV-Z]{25}"],
            name in proptest::option::of(".*"),
            attempts: i64,
            state in prop_oneof![".*", "Queued|Running|Done|Failed|Killed|Pending"],
            result in proptest::option::of(prop_oneof![".*", "\\{\"Err\":(\"[a-z]{0,5}\"|[0-9]|null)\\}"]),
        ) {
            let read = failed(&id, name.as_ref(), attempts, result.as_deref());
            prop_assert_eq!(read.as_ref().map(|job| job.id), id.parse::<JobId>().ok());
            if let Some(job) = read {
                prop_assert_eq!(job.name, name.unwrap_or_default());
                prop_assert!(i64::from(job.attempts) == attempts || job.attempts == u32::MAX);
            }
            let shown = status(&state, result.as_deref());
            prop_assert_eq!(matches!(shown, JobStatus::Failed { .. }), matches!(&*state, "Failed" | "Killed"));
        }

        #[test]
        fn what_a_job_carries_is_stored_with_it_and_its_name(
            name in ".*", carried in proptest::collection::btree_map(".*", ".*", 0..4),
        ) {
            let mut job = Envelope::new(JobId::unique(), name.clone(), Policy::new(), Vec::new());
            job.metadata = carried.clone();
            let mut stored = metadata(&job);
            prop_assert_eq!(stored.remove(NAME), Some(name));
            let mut expected = carried;
            expected.remove(NAME);
            prop_assert_eq!(stored, expected);
        }
    }
}
