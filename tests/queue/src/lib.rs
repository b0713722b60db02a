//! Jobs, databases, programs and a proxy for the tests of `defer-sqlx`.

#![allow(missing_docs, clippy::unwrap_used, clippy::missing_panics_doc, reason = "these are tests")]

pub mod backend;
pub mod client;
pub mod cluster;
pub mod jobs;
pub mod program;
pub mod proxy;
pub mod service;
pub mod waiting;

/// The README's examples, compiled here as doc tests because this crate has a queue.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct ReadmeDoctests;
