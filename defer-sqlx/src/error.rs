//! What can go wrong.

use defer_core::BoxError;

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
    /// The job cannot be stored: it cannot be written as JSON, or it is too large.
    #[error("the job cannot be stored: {0}")]
    Encode(#[source] BoxError),
    /// The database failed, or did not answer in time.
    #[error("the queue's database failed: {0}")]
    Store(#[source] BoxError),
}
