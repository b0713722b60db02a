//! The primitives of loom.

pub(crate) mod sync;
