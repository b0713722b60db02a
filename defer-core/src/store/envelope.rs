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
    /// The job type's name, by which a worker finds it.
    pub name: String,
    /// How to run it.
    pub policy: Policy,
    /// The job as JSON, by `serde_json`.
    pub payload: Vec<u8>,
    /// What is known of the request that it comes from.
    pub metadata: Metadata,
    /// How long it has to wait, from now.
    pub delay: Duration,
    /// The key of the jobs that it runs after, one at a time.
    pub serial: Option<String>,
    /// The key of the job that waits and that it is left out for.
    pub unique: Option<String>,
    /// After which responses it runs, if that is not known yet.
    pub condition: Condition,
    /// The status of the response, if that is known.
    pub status: Option<StatusCode>,
}

impl Envelope {
    /// Creates an envelope without metadata, for a job that need not wait.
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
            condition: Condition::Always,
            status: None,
        }
    }
}
