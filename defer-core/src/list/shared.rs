//! A job that a test may look at. Only with the feature `testing`.

use std::{any::Any, fmt, sync::Arc};

/// A job that a test may look at while something else owns it too.
#[derive(Clone)]
pub(crate) struct SharedJob {
    pub(crate) job: Arc<dyn Any + Send + Sync>,
    /// How many of its type run together, if they do.
    pub(crate) batch_size: Option<usize>,
    /// Writes it, if it is `Debug`.
    pub(crate) show: Option<Show>,
}

/// Writes a job of one type.
pub(crate) type Show = fn(&dyn Any, &mut fmt::Formatter<'_>) -> fmt::Result;
