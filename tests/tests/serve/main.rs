//! `serve` is axum's, and comes to an end.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod apps;
mod ending;
