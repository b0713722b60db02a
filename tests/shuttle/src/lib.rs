//! All of `defer-core`, compiled a second time against [shuttle]'s primitives, and run in random schedules of its threads and
//! tasks: `cargo test -p defer-shuttle`. What is too large for `tests/loom`: the runner, nesting, retries and the shutdown.
//!
//! The sources name `std` and `tokio`. Here the one is `tests/shuttle/std`, with shuttle's locks, atomics and thread-locals, and
//! the other `tests/shuttle/tokio`, with its tasks and with timers that may fire at any time.
//!
//! [shuttle]: https://docs.rs/shuttle

// The tests and examples within the sources are for Tokio's own runtime.
#![cfg(not(any(test, doctest)))]
#![allow(dead_code, unused_imports, reason = "the scenarios use a part of the sources")]
#![allow(
    missing_docs,
    unreachable_pub,
    rustdoc::broken_intra_doc_links,
    reason = "the sources are those of another crate"
)]
#![allow(unexpected_cfgs, reason = "the sources' features are off")]

#[macro_use]
extern crate defer_shuttle_std as std;

#[path = "../../../defer-core/src/around.rs"]
mod around;
#[path = "../../../defer-core/src/attempt.rs"]
mod attempt;
#[path = "../../../defer-core/src/builder.rs"]
mod builder;
#[path = "../../../defer-core/src/carried.rs"]
mod carried;
#[path = "../../../defer-core/src/context.rs"]
mod context;
#[path = "../../../defer-core/src/defer.rs"]
mod defer;
#[path = "../../../defer-core/src/error.rs"]
mod error;
#[path = "../../../defer-core/src/event.rs"]
mod event;
#[path = "../../../defer-core/src/future.rs"]
mod future;
#[path = "../../../defer-core/src/id.rs"]
mod id;
#[path = "../../../defer-core/src/job.rs"]
mod job;
#[path = "../../../defer-core/src/list/mod.rs"]
mod list;
#[path = "../../../defer-core/src/panic.rs"]
mod panic;
#[path = "../../../defer-core/src/policy.rs"]
mod policy;
#[path = "../../../defer-core/src/queue.rs"]
mod queue;
#[path = "../../../defer-core/src/request.rs"]
mod request;
#[path = "../../../defer-core/src/response.rs"]
mod response;
#[path = "../../../defer-core/src/resume.rs"]
mod resume;
#[path = "../../../defer-core/src/runner/mod.rs"]
mod runner;
#[path = "../../../defer-core/src/scope/mod.rs"]
mod scope;
#[path = "../../../defer-core/src/span.rs"]
mod span;
#[path = "../../../defer-core/src/stamp.rs"]
mod stamp;
#[path = "../../../defer-core/src/state.rs"]
mod state;
#[path = "../../../defer-core/src/stats.rs"]
mod stats;
#[path = "../../../defer-core/src/status.rs"]
mod status;
#[path = "../../../defer-core/src/sync.rs"]
mod sync;
#[path = "../../../defer-core/src/trace.rs"]
mod trace;
#[path = "../../../defer-core/src/watchdog.rs"]
mod watchdog;
#[path = "../../../defer-core/src/work.rs"]
mod work;
#[path = "../../../defer-core/src/worker.rs"]
mod worker;

pub use self::{
    builder::RunnerBuilder,
    context::{JobContext, Next},
    defer::{Defer, Deferred, defer, defer_fn, try_defer, try_defer_fn},
    error::{BoxError, CarriedError, DeferError, GlobalRunnerExists, JobError, JobResult, MissingState},
    event::{JobEvent, JobEventKind},
    future::BoxFuture,
    id::{InvalidJobId, JobId},
    job::{Deferrable, IntoJobResult, Job},
    list::JobList,
    policy::{On, Policy},
    queue::{Envelope, FailedJob, InspectQueue, Metadata, Queue, QueueCounts, Ran, decode},
    request::RequestInfo,
    response::{Delivery, ResponseInfo},
    resume::{Resume, Resumed},
    runner::{Load, Overflow, Runner, RunningJob, ShutdownReport, UnfinishedJob},
    scope::{Scope, Scoped, scope},
    stats::Stats,
    status::JobStatus,
};

/// For the derive and for `defer-axum`.
#[doc(hidden)]
pub mod __private {
    pub use crate::{
        __decode as decode,
        carried::Carried,
        event::{End, Watch},
        job::{Decode, Encode},
        queue::{Decoded, Queued, Undecoded, encode},
        request::Captured,
        scope::current::while_swapped,
        stamp::Stamp,
    };
}
