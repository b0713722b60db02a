//! A job as a queue stores it.

use std::time::Duration;

use http::StatusCode;

use crate::model::{
    id::JobId,
    metadata::Metadata,
    policy::{Condition, Policy},
};

/// A job as a queue stores it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Envelope {
    /// The job's id.
    pub id: JobId,
    /// The name of the job type. A worker looks up the type by it.
    pub name: String,
    /// The policy of the job type.
    pub policy: Policy,
    /// The job as JSON, written by `serde_json`.
    pub payload: Vec<u8>,
    /// The metadata of the request that deferred it.
    pub metadata: Metadata,
    /// The delay from now.
    pub delay: Duration,
    /// Its serial key.
    pub serial: Option<String>,
    /// Its unique key.
    pub unique: Option<String>,
    /// Set if it replaces a job with the same unique key.
    pub replace: Option<Replace>,
    /// Drops it if another job with this key has started too recently.
    pub at_most: Option<AtMostEvery>,
    /// Its condition, if it has not been decided yet.
    pub condition: Condition,
    /// The status of the response, if it is known.
    pub status: Option<StatusCode>,
}

impl Envelope {
    /// Creates an envelope without metadata, for a job that does not have to wait.
    pub fn new(id: JobId, name: impl Into<String>, policy: Policy, payload: Vec<u8>) -> Self {
        Self {
            id,
            name: name.into(),
            policy,
            payload,
            metadata: Metadata::new(),
            delay: Duration::ZERO,
            serial: None,
            unique: None,
            replace: None,
            at_most: None,
            condition: Condition::Always,
            status: None,
        }
    }
}

/// When a job starts that replaces the waiting job with the same unique key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Replace {
    /// When the replaced job would have started.
    AtItsTime,
    /// After its own delay, but no later than this long after the first job in the chain of replacements was ready.
    Within(Duration),
}

/// A limit on how often jobs with a key start.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct AtMostEvery {
    /// The key.
    pub key: String,
    /// The minimum time between two starts.
    pub every: Duration,
}

impl AtMostEvery {
    /// Creates a limit.
    pub fn new(key: impl Into<String>, every: Duration) -> Self {
        Self { key: key.into(), every }
    }
}
