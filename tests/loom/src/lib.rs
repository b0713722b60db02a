//! Compiles the hand-written concurrency of `defer-core` against [loom]'s primitives, and explores every order that a few
//! threads can take: `cargo test -p defer-loom`.
//!
//! [loom]: https://docs.rs/loom

#![allow(dead_code, reason = "the models use a part of the sources")]
#![allow(unreachable_pub, reason = "the sources are those of another crate")]

#[path = "../../../defer-core/src/limits/capacity.rs"]
mod capacity;
mod primitives;
#[path = "../../../defer-core/src/limits/semaphore.rs"]
mod semaphore;
#[path = "../../../defer-core/src/observe/stats.rs"]
mod stats;

#[cfg(test)]
mod tests;
