//! Errors of a queue.

use defer_core::{BoxError, JobId};

/// An error of a queue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL has an unknown scheme.
    #[error("expected a URL that begins with `sqlite:` or `postgres:`, not `{scheme}:`")]
    #[non_exhaustive]
    UnknownUrl {
        /// The URL's scheme.
        scheme: String,
    },
    /// The URL needs a feature that is not enabled.
    #[error("`defer-sqlx` was built without its feature `{feature}`: turn it on in your Cargo.toml")]
    #[non_exhaustive]
    MissingFeature {
        /// The name of the feature.
        feature: &'static str,
    },
    /// The pool or the URL cannot be used for a queue.
    #[error("{reason}")]
    #[non_exhaustive]
    Unusable {
        /// The reason, and what to do.
        reason: String,
    },
    /// The transaction belongs to a different kind of database than the queue.
    #[error("the queue is on {queue}, and the transaction is not")]
    #[non_exhaustive]
    OtherDatabase {
        /// The queue's database.
        queue: &'static str,
    },
    /// The job has an option that changes other jobs, which your transaction would keep locked.
    #[error("`{option}` changes other jobs, which `push_in` does not: use `push`")]
    #[non_exhaustive]
    NotInTransaction {
        /// The name of the option.
        option: &'static str,
    },
    /// The job cannot be stored, because it cannot be serialized as JSON or is too large.
    #[error("the job cannot be stored: {0}")]
    Encode(#[source] BoxError),
    /// A stored job cannot be read as its type.
    #[error("job {id} cannot be read: {reason}")]
    #[non_exhaustive]
    Unreadable {
        /// The job's id.
        id: JobId,
        /// Where reading failed, without any of the job's contents.
        reason: String,
    },
    /// The database failed, or did not answer in time.
    #[error("the queue's database failed: {0}")]
    Store(#[source] BoxError),
}
