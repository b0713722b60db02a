//! Jobs, the scope that collects them, and the runner that runs them: what `defer-axum` is built on.
//!
//! A service on axum depends on `defer-axum` alone, which re-exports what is here. Depend on this crate to defer
//! outside of HTTP, with [`scope`], or to build a middleware for something else than axum, with [`Scope`].

mod collector;
mod context;
mod error;
mod exchange;
mod job;
mod panic;
mod policy;
mod queue;
mod runner;
mod scope;
mod state;
mod sync;
#[cfg(feature = "testing")]
pub mod testing;

pub use self::{
    context::JobContext,
    error::{BoxError, DeferError, GlobalRunnerExists, JobError, JobResult, MissingState},
    exchange::{Delivery, RequestInfo, ResponseInfo},
    job::{Deferrable, IntoJobResult, Job, JobId},
    policy::{On, Policy},
    queue::{BoxFuture, Envelope, Queue, decode},
    runner::{JobEvent, JobEventKind, Overflow, Runner, RunnerBuilder, ShutdownReport, Stats, UnfinishedJob},
    scope::{Collected, Defer, Deferred, Scope, Scoped, defer, defer_fn, scope, try_defer, try_defer_fn},
};

/// For the code that the derive writes.
#[doc(hidden)]
pub mod __private {
    pub use crate::{
        job::Encode,
        queue::{Queued, encode},
    };
}
