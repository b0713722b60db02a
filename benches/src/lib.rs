//! The measured programs and their drivers, all in one process.

mod case;
mod connection;
mod driver;
mod job;
mod load;
mod pending;

use tokio::runtime::{Builder, Runtime};

pub use self::{
    case::{Case, Way},
    connection::{Answer, Connection, MEGABYTE, Served, Server},
    driver::Driver,
    load::{Load, Workers},
    pending::{Crowd, Origin, Pending},
};

/// Sends requests and runs their jobs.
pub trait Drive {
    /// Sends this many requests, and waits until their jobs have run.
    fn run(&mut self, requests: u64);
}

/// Returns the driver of a case, `way:jobs`, or of one behind a server, `server/answer/way:jobs`.
///
/// # Errors
///
/// Returns an error if there is no such case.
pub fn driver(what: &str) -> Result<Box<dyn Drive>, String> {
    Ok(if what.contains('/') {
        Box::new(Connection::new(what.parse()?))
    } else {
        Box::new(Driver::new(what.parse()?))
    })
}

fn current_thread() -> Runtime {
    Builder::new_current_thread().build().expect("a runtime without drivers can be built")
}
