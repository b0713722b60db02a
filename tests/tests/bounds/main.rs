//! Limits over sockets and routers: everything that waits for room makes progress.

mod cancelled;
mod nested;
mod progress;
mod streams;
