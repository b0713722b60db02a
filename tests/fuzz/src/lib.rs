//! A fuzzer of `defer_axum::serve` at the level of bytes.
//!
//! A [`Case`] is a connection in memory, an app, and a list of [`Step`]s: what the client sends and in which pieces, how much
//! the connection takes and when it flushes, when the client resets, leaves or breaks the protocol, and what handlers, bodies
//! and layers do in the meantime. [`play()`] serves it with the real hyper and h2, lets everything come to rest after each
//! step, and checks:
//!
//! - No job starts before the last byte of its response was taken and flushed.
//! - Unless something delays them, the jobs of a response that was taken completely have been released, as `Sent`.
//! - Each job runs once, and sees a delivery that this client, handler and body can have caused.
//! - `bytes_sent` is the number of bytes taken: over HTTP/1 always, over HTTP/2 if the response was sent; otherwise it is never
//!   more.
//! - In the end, no response is delayed that axum's server lets through, the server stops where axum's does, and the counts of
//!   the runner add up.
//!
//! A seed makes the same case on every machine:
//!
//! ```sh
//! cargo run --release -p defer-fuzz -- --seconds 60    # as many as fit
//! cargo run -p defer-fuzz -- --seed 17                 # this one, with its steps
//! ```

mod app;
mod body;
pub mod case;
mod client;
mod counts;
mod fuzz;
mod generate;
mod http1;
mod http2;
mod oracle;
mod play;
mod world;

pub use self::{
    case::{Case, Exchange, Protocol, Step},
    counts::{ByProtocol, Counts},
    fuzz::{Failure, check, play_seed},
    generate::Breadth,
    play::{play, play_by},
};
