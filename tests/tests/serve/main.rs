//! `serve` behaves like axum's, and ends at a shutdown.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod apps;
mod ending;
