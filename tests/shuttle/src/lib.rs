//! Compiles all of `defer-core` against [shuttle]'s primitives, and runs it in random schedules of its threads and tasks:
//! `cargo test -p defer-shuttle`. It covers the parts that are too large for `tests/loom`: the runner, nesting, retries
//! and the shutdown.
//!
//! The sources name `std` and `tokio`. Here, `std` is `tests/shuttle/std`, with shuttle's locks, atomics and thread-locals, and
//! `tokio` is `tests/shuttle/tokio`, with shuttle's tasks and with timers that may fire at any time.
//!
//! [shuttle]: https://docs.rs/shuttle

// The tests and examples in the sources need Tokio's own runtime.
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

#[path = "../../../defer-core/src/defer/mod.rs"]
mod defer;
#[path = "../../../defer-core/src/job/mod.rs"]
mod job;
#[path = "../../../defer-core/src/limits/mod.rs"]
mod limits;
#[path = "../../../defer-core/src/list/mod.rs"]
mod list;
#[path = "../../../defer-core/src/model/mod.rs"]
mod model;
#[path = "../../../defer-core/src/observe/mod.rs"]
mod observe;
#[path = "../../../defer-core/src/primitives/mod.rs"]
mod primitives;
#[path = "../../../defer-core/src/run/mod.rs"]
mod run;
#[path = "../../../defer-core/src/runner/mod.rs"]
mod runner;
#[path = "../../../defer-core/src/store/mod.rs"]
mod store;

pub use self::{
    defer::{Defer, Deferred, Scope, defer, defer_fn, scope, try_defer, try_defer_fn},
    job::{
        batch::BatchJob,
        context::JobContext,
        job::{Deferrable, IntoJobResult, Job},
    },
    list::{
        current::Scoped, engine::Overflow, list::JobList, open_job::OpenJob, open_state::OpenState,
        report::RunningJob,
    },
    model::{
        error::{
            BoxError, DeferError, ExtensionError, GlobalRunnerExists, IntoJobError, JobError, JobResult,
            MissingState,
        },
        id::{InvalidJobId, JobId},
        policy::{Condition, Policy},
        progress::{Progress, ProgressError},
        request::RequestInfo,
        response::{Delivery, ResponseInfo},
        status::JobStatus,
    },
    observe::stats::Stats,
    primitives::BoxFuture,
    runner::{Load, Runner, RunnerBuilder, ShutdownReport, UnfinishedJob},
    store::Cancel,
};

/// The events of jobs: for [`RunnerBuilder::on_event`].
pub mod event {
    pub use crate::observe::event::{JobEvent, JobEventKind};
}

/// Wrappers of attempts: for [`RunnerBuilder::around`].
pub mod middleware {
    pub use crate::job::middleware::Next;
}

/// Queues outside this process: for [`RunnerBuilder::queue`], and for authors of queues.
pub mod queue {
    pub use crate::{
        model::metadata::Metadata,
        runner::{Ran, Resume, Resumed, RunWorker},
        store::{
            Cancel, End, Envelope, FailedJob, FailureGroup, Hold, HoldJobs, Holder, InspectQueue, JobFilter,
            Lease, NameCounts, OnQueueFailure, Process, Queue, QueueCounts, QueuedJob, QueuedState, Ready,
            Settle, Settled, Start, Stop, decode,
        },
    };
}

/// For the derive and for `defer-axum`.
#[doc(hidden)]
pub mod __private {
    pub use crate::{
        __decode as decode,
        model::{extensions::Extensions, request::Captured},
        observe::hooks::{Observer, Report},
        primitives::timestamp::Timestamp,
        store::codec::{Decode, Decoded, Encode, Queued, Undecoded, encode},
    };
}
