//! Errors of a queue.

use defer_core::BoxError;

/// An error of a queue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL has an unknown scheme.
    #[error("expected a URL that begins with `sqlite:` or `postgres:`, not `{scheme}:`")]
    #[non_exhaustive]
    UnknownUrl {
        /// Its scheme.
        scheme: String,
    },
    /// The URL needs a feature that is not enabled.
    #[error("`defer-river` was built without its feature `{feature}`: turn it on in your Cargo.toml")]
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
    /// The transaction belongs to a different kind of database than the queue.
    #[error("the queue is on {queue}, and the transaction is not")]
    #[non_exhaustive]
    OtherDatabase {
        /// The queue's database.
        queue: &'static str,
    },
    /// The job cannot be stored as it is.
    #[error("the job cannot be stored: {0}")]
    Encode(#[source] BoxError),
    /// River failed.
    #[error("River failed: {0}")]
    River(#[source] Box<riverqueue::Error>),
    /// The database failed, or did not answer in time.
    #[error("the queue's database failed: {0}")]
    Store(#[source] BoxError),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<riverqueue::Error> for Error {
    fn from(error: riverqueue::Error) -> Self {
        Self::River(Box::new(error))
    }
}
