//! What the tests over sockets have in common: servers, a log of what happened in which order, and clients that
//! misbehave.

mod client;
mod log;
mod server;

pub use self::{
    client::{Reply, Tcp},
    log::Log,
    server::Server,
};
