//! What can go wrong.

use defer_core::{BoxError, Deferrable, JobId};

/// An error of a queue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL is of a kind that is not known.
    #[error("expected a URL that begins with `sqlite:` or `postgres:`, not `{scheme}:`")]
    #[non_exhaustive]
    UnknownUrl {
        /// Its scheme.
        scheme: String,
    },
    /// The URL is of a kind that is not built in.
    #[error("`defer-sqlx` was built without its feature `{feature}`: turn it on in your Cargo.toml")]
    #[non_exhaustive]
    MissingFeature {
        /// The feature.
        feature: &'static str,
    },
    /// The pool or the URL cannot be used for a queue.
    #[error("{reason}")]
    #[non_exhaustive]
    Unusable {
        /// Why, and what to do.
        reason: String,
    },
    /// A transaction of another kind of database than the queue's.
    #[error("the queue is on {queue}, and the transaction is not")]
    #[non_exhaustive]
    OtherDatabase {
        /// The queue's database.
        queue: &'static str,
    },
    /// The job was given an option that a transaction of yours cannot keep.
    #[error("`{option}` changes other jobs, which `push_in` does not: use `push`")]
    #[non_exhaustive]
    NotInTransaction {
        /// The option.
        option: &'static str,
    },
    /// The job cannot be stored: it cannot be written as JSON, or it is too large.
    #[error("the job cannot be stored: {0}")]
    Encode(#[source] BoxError),
    /// A stored job does not fit its type.
    #[error("job {id} cannot be read: {reason}")]
    #[non_exhaustive]
    Unreadable {
        /// The job.
        id: JobId,
        /// Where it does not fit. Nothing of what it holds.
        reason: String,
    },
    /// The database failed, or did not answer in time.
    #[error("the queue's database failed: {0}")]
    Store(#[source] BoxError),
}

/// Says where a stored job does not fit, and nothing of what it holds: that may be a secret.
pub(crate) fn unreadable<J: Deferrable>(error: &BoxError) -> String {
    let why = match error.downcast_ref::<serde_json::Error>() {
        Some(error) => {
            let what = error.to_string();
            let is_ours = what.starts_with("missing field") || error.is_syntax() || error.is_eof();
            let (line, column) = (error.line(), error.column());
            if is_ours {
                what
            } else {
                format!("it does not fit the type at line {line} column {column} of its JSON")
            }
        }
        None => "it does not fit the type".to_owned(),
    };
    format!("the stored job is not a `{}`: {why}", J::NAME)
}
