//! Loom's primitives.

pub(crate) mod sync;
