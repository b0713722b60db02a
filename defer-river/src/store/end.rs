//! A change of a row.

use std::time::Duration;

use defer_core::JobId;
use riverqueue::{AttemptError, jiff::Timestamp};
use serde::Serialize;
use serde_json::json;

use super::{interval::after, row::text, stored::Response};

/// What a row must be for a change to have an effect.
#[derive(Clone, Debug)]
pub(crate) enum From {
    /// A process holds it.
    Held { id: JobId, holder: String },
    /// River's client runs this attempt of it.
    Running { row: i64, attempt: i32 },
    /// It has failed.
    Failed { id: JobId },
}

/// What becomes of a row.
#[derive(Clone, Debug)]
pub(crate) enum To {
    Succeeded,
    Failed {
        error: String,
    },
    Skipped,
    Cancelled,
    Duplicate {
        of: String,
    },
    /// It is due after this.
    Due {
        after: Duration,
    },
    /// It is due after this, as the next attempt.
    Retry {
        after: Duration,
        error: String,
    },
    /// It starts anew.
    Anew,
}

/// A change of a row.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) from: From,
    pub(crate) to: To,
    /// A key to claim.
    pub(crate) unique: Option<String>,
    /// Tells that it was this change that was made.
    pub(super) mark: JobId,
    /// How the response of its request ended.
    pub(crate) response: Option<Response>,
}

/// A change as the statement reads it.
#[derive(Serialize)]
struct Written<'a> {
    id: Option<JobId>,
    row: Option<i64>,
    attempt: Option<i32>,
    holder: Option<&'a str>,
    from: &'static str,
    to: &'static str,
    is_scheduled: bool,
    after: String,
    attempts: i32,
    is_anew: bool,
    /// JSON, as a text.
    error: Option<String>,
    /// What is merged into the metadata, as a text.
    metadata: String,
    unique: Option<&'a str>,
}

impl Change {
    pub(crate) fn new(from: From, to: To) -> Self {
        Self { from, to, unique: None, mark: JobId::unique(), response: None }
    }

    /// Ends the job with an error instead.
    pub(crate) fn fail(&mut self, error: &str) {
        (self.to, self.unique, self.response) = (To::Failed { error: error.to_owned() }, None, None);
    }

    /// Returns the job. Of an attempt of River's, which is changed once, the change.
    pub(crate) fn job(&self) -> JobId {
        match self.from {
            From::Held { id, .. } | From::Failed { id } => id,
            From::Running { .. } => self.mark,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.from, From::Running { .. })
    }

    /// Returns what the statement returns if it had an effect.
    pub(super) fn key(&self) -> String {
        match &self.from {
            From::Held { id, .. } | From::Failed { id } => id.to_string(),
            From::Running { row, .. } => row.to_string(),
        }
    }

    /// Returns what asks whether it was made.
    pub(super) fn asked(&self) -> serde_json::Value {
        match &self.from {
            From::Held { id, .. } | From::Failed { id } => {
                json!({ "change": self.mark, "id": id, "row": null })
            }
            From::Running { row, .. } => json!({ "change": self.mark, "id": null, "row": row }),
        }
    }

    pub(super) fn written(&self) -> serde_json::Value {
        let (id, row, attempt, holder, from) = match &self.from {
            From::Held { id, holder } => (Some(*id), None, None, Some(&**holder), "pending"),
            From::Running { row, attempt } => (None, Some(*row), Some(*attempt), None, "running"),
            From::Failed { id } => (Some(*id), None, None, None, "discarded"),
        };
        let (to, ended, error, delay, attempts) = match &self.to {
            To::Succeeded => ("completed", None, None, Duration::ZERO, 0),
            To::Failed { error } => ("discarded", None, Some(error), Duration::ZERO, 0),
            To::Skipped => ("cancelled", Some("skipped"), None, Duration::ZERO, 0),
            To::Cancelled => ("cancelled", None, None, Duration::ZERO, 0),
            To::Duplicate { .. } => ("cancelled", Some("duplicate"), None, Duration::ZERO, 0),
            To::Due { after } => ("due", None, None, *after, 0),
            To::Retry { after, error } => ("due", None, Some(error), *after, 1),
            To::Anew => ("due", None, None, Duration::ZERO, 0),
        };
        let of = if let To::Duplicate { of } = &self.to { Some(of) } else { None };
        // `null` removes a key.
        let metadata = json!({ "defer": {
            "holder": null, "ended": ended, "of": of, "response": self.response, "change": self.mark
        } });
        let error = error.map(|error| {
            let error = AttemptError::new(Timestamp::now(), attempt.unwrap_or(1), text(error));
            serde_json::to_string(&error).unwrap_or_default()
        });
        let (after, is_scheduled) = after(delay);
        let written = Written {
            id,
            row,
            attempt,
            holder,
            from,
            to,
            is_scheduled,
            after,
            attempts,
            is_anew: matches!(self.to, To::Anew),
            error,
            metadata: metadata.to_string(),
            unique: self.unique.as_deref(),
        };
        serde_json::to_value(&written).unwrap_or_default()
    }
}
