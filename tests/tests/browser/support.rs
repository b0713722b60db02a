//! What the driver of a browser asks for.

#[path = "../../../examples/signup/tests/support/eventually.rs"]
pub(crate) mod eventually;
