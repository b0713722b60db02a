//! Jobs of many requests that run together: `#[defer(batch = .., within = "..")]`.
//!
//! Time is paused in each test that sleeps: a sleep lets virtual time pass.

#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "../support/mod.rs"]
mod common;
#[cfg(feature = "testing")]
mod durable;
mod ends;
mod gathering;
#[cfg(feature = "testing")]
mod recorded;
mod support;
