//! Shared by the tests: servers, a log of events in order, and misbehaving clients.

mod ask;
mod client;
mod feed;
pub mod http2;
pub mod https;
mod jobs;
mod log;
mod pipe;
mod server;
mod wire;

pub use self::{
    ask::{all_have_run, ask, in_time, read},
    client::{Reply, Tcp},
    feed::{FedBody, Feed},
    jobs::{Note, NoteEnding, runner},
    log::{Log, Traced},
    pipe::{Pipe, PipeClient, PipeIo, PipeListener},
    server::{By, Server},
    wire::{Wire, WireIo, WireListener, http1_bodies, http1_ends, http2_bodies, http2_ends},
};
