//! Bounds over sockets and routers: whatever waits for room makes progress.

mod cancelled;
mod nested;
mod progress;
mod streams;
