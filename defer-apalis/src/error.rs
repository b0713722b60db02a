//! Errors of a queue.

use defer_core::BoxError;

/// Why jobs were not pushed. They run in the process that deferred them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The job has an option that looks at other jobs, which a storage of apalis cannot.
    #[error(
        "`{name}` has the option `{option}`, which no storage of apalis keeps: leave it out, or use `defer-sqlx`"
    )]
    #[non_exhaustive]
    NotKept {
        /// The job's name.
        name: String,
        /// The option.
        option: &'static str,
    },
    /// The payload of a job with an encoding of its own is not UTF-8.
    #[error("the payload of `{name}` is not UTF-8: encode it as JSON")]
    #[non_exhaustive]
    NotText {
        /// The job's name.
        name: String,
    },
    /// The storage failed.
    #[error("apalis could not push: {0}")]
    Storage(#[source] BoxError),
    /// The storage did not answer.
    #[error("apalis did not push within {0:?}")]
    TimedOut(std::time::Duration),
}
