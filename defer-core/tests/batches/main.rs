//! Jobs of many requests that run together: `#[defer(batch = .., within = "..")]`.

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
