//! Jobs, the scope that collects them, and the runner that runs them: what `defer-axum` is built on.
//!
//! A service on axum depends on `defer-axum` alone, which re-exports what is here. Depend on this crate to defer outside
//! of HTTP, with [`scope()`], or to build a middleware for another framework, with [`Scope`].

mod attempt;
mod builder;
mod context;
mod defer;
mod error;
mod event;
mod id;
mod job;
mod list;
mod panic;
mod policy;
mod queue;
mod request;
mod response;
mod runner;
mod scope;
mod state;
mod stats;
mod sync;
#[cfg(feature = "testing")]
pub mod testing;
mod work;
mod worker;

pub use self::{
    builder::RunnerBuilder,
    context::JobContext,
    defer::{Defer, Deferred, defer, defer_fn, try_defer, try_defer_fn},
    error::{BoxError, DeferError, GlobalRunnerExists, JobError, JobResult, MissingState},
    event::{JobEvent, JobEventKind},
    id::JobId,
    job::{Deferrable, IntoJobResult, Job},
    list::JobList,
    policy::{On, Policy},
    queue::{BoxFuture, Envelope, Queue, decode},
    request::RequestInfo,
    response::{Delivery, ResponseInfo},
    runner::{Overflow, Runner, ShutdownReport, UnfinishedJob},
    scope::{Scope, Scoped, scope},
    stats::Stats,
};

/// For the derive and for `defer-axum`.
#[doc(hidden)]
pub mod __private {
    pub use crate::{
        job::Encode,
        queue::{Queued, encode},
        scope::current::while_swapped,
    };
}
