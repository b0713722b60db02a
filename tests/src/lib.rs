//! What the tests over sockets have in common: servers, a log of what happened in which order, and clients that
//! misbehave.

mod by;
mod client;
mod feed;
mod jobs;
mod log;
mod pipe;
mod server;
mod wire;

pub use self::{
    by::By,
    client::{Reply, Tcp},
    feed::{FedBody, Feed},
    jobs::{Note, NoteEnding, runner},
    log::Log,
    pipe::{Pipe, PipeClient, PipeIo, PipeListener},
    server::Server,
    wire::{Wire, WireIo, WireListener, http1_bodies, http1_ends, http2_bodies, http2_ends},
};
