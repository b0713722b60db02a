//! What can go wrong with a queue.

use defer_core::BoxError;

/// An error of a queue or its worker.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL is of no kind that is known here.
    #[error("`{scheme}:` is no queue: expected a URL that begins with `sqlite:`, `postgres:` or `redis:`")]
    UnknownUrl {
        /// What the URL begins with.
        scheme: String,
    },
    /// The URL is of a kind that this program was built without.
    #[error("this program was built without `defer-apalis`' feature `{feature}`")]
    MissingFeature {
        /// The feature to turn on.
        feature: &'static str,
    },
    /// A transaction of another kind of database than the queue's, or of any for a queue on Redis.
    #[error("the transaction is not one of the queue's database, which is {queue}")]
    OtherDatabase {
        /// The queue's database.
        queue: &'static str,
    },
    /// The job cannot be written as JSON.
    #[error("the job cannot be written as JSON: {0}")]
    Encode(#[source] BoxError),
    /// Two job types of a worker have the same name.
    #[error("two job types are named `{name}`: give one a name of its own with `#[defer(name = \"..\")]`")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// The queue's database or server failed.
    #[error("the queue failed: {0}")]
    Store(#[source] BoxError),
}

impl Error {
    /// Converts an error of a store.
    pub(crate) fn store(error: impl Into<BoxError>) -> Self {
        Self::Store(error.into())
    }
}
