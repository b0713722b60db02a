//! Helpers that drive a browser.

#[path = "../../../examples/signup/tests/support/eventually.rs"]
pub(crate) mod eventually;
