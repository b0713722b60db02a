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
    /// The name of the job type, by which a worker finds it.
    pub name: String,
    /// The policy of the job type.
    pub policy: Policy,
    /// The job as JSON, written by `serde_json`.
    pub payload: Vec<u8>,
    /// The metadata of the request that it comes from.
    pub metadata: Metadata,
    /// How long it has to wait from now.
    pub delay: Duration,
    /// Its serial key.
    pub serial: Option<String>,
    /// Its unique key.
    pub unique: Option<String>,
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
            condition: Condition::Always,
            status: None,
        }
    }
}
