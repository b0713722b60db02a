//! Jobs, the scope that collects them, and the runner that runs them: the foundation of `defer-axum`.
//!
//! An axum service depends on `defer-axum` alone, which re-exports this crate. Use this crate directly to defer outside HTTP, with
//! [`scope()`], or to write a middleware for another framework, with [`Scope`].

#![cfg_attr(docsrs, feature(doc_cfg))]

// For maintainers: how a job gets from `defer` to its end. Every step goes through `list/list`, which has the lock and does
// what follows a transition.
//
// 1. `defer/functions`: `MyJob::defer` calls `defer`, which asks for the list of the current request and adds the job.
// 2. `list/current` finds the list of the thread's scope. The first job of a request creates it. Outside any scope, step 1
//    takes a list on the global runner and releases it immediately.
// 3. `run/segment` hides the job's type (`NewJob`).
// 4. `run/join` adds the job: an entry in `list/state`, and the job itself, which chooses its kind (`job/work`) and is stored
//    beside others of its type (`run/jobs`). Until it starts, its handle (`defer/deferred`) changes it through `list/change`.
// 5. The handler has answered. A middleware calls `JobList::admit`, in `run/admit`, which holds the response until there is room
//    for its jobs (`limits/capacity`). Durable jobs are stored meanwhile (`run/push`).
// 6. The response is over. A middleware or `defer/scope` calls `JobList::release`, in `run/release`: the jobs take up capacity,
//    and due jobs with a serial key queue for their turns. The list asks for a permit.
// 7. `limits/semaphore` grants it.
// 8. `run/worker` takes the first segment and spawns the list's worker (by way of `run/segment`, which knows the type). It runs
//    the jobs one after another.
// 9. An attempt starts (`list/state/attempt`). `run/start` reports it, and has what it needs.
// 10. `run/attempt` polls the job, in its span and within its timeout.
// 11. `run/finish` ends the attempt and the job. `list/list` has `list/report` tell the hooks (`observe/hooks`), and counts the
//     job (`observe/stats`).
//
// Jobs that cannot start yet take a detour between steps 8 and 9: `run/detour` evaluates a condition, detaches a delayed job,
// waits for the push to a queue (`run/push`), for turns among others (`limits/keyed_semaphore`) and for a permit, and then does
// steps 9 to 11 itself. Blocking jobs, and those behind the first segment of a list, always take it: their attempts are boxed.
// Whatever a job keeps from one attempt to the next (`run/held`) is returned when it is dropped. A job that is concurrent or
// delayed, that queued late for a turn and has to wait for it, or that is retried continues in a task of its own,
// `run/detached`, which takes the same detour. `run/worker` (`leave`), `run/release` and `run/join` start such tasks.
//
// Jobs that run in batches (`job/batch`) leave their line at the permit: `run/member` waits for its batch (`run/batch`), which has
// one task and one permit for all of them.
//
// A queue that holds jobs returns a lease for each (`store/hold`). At step 6, `list/lease` decides whether such a job stays
// here. If so, it takes the detour, which waits for the lease. At step 11, `list/lease` stores its end, together with the jobs
// that it deferred, before the end is reported.
//
// Every step that changes a job or a list is a transition in `list/state`; the tables are in `list`. A job may also end
//
// - by its id: `runner/cancel` asks every list (`list/cancel`) and the queue; an attempt that runs is stopped in `run/attempt`
// - by a handle: `cancel`, a later job with its key, a duplicate of another (`list/change`)
// - for lack of capacity: in step 4 or 6
// - by its condition, which is false or panics (`run/detour`, `run/push`), or because there is no timer (`run/detached`,
//   `run/worker`)
// - by going to the queue (`run/push`), or by being left to any worker of the queue (`list/lease`)
// - by a shutdown (`runner/shutdown`) or the drop of a `Resumed` (`runner/resume`): both stop it in `run/stop`
// - with its worker (`WorkerGuard` in `list/list`), its own task (`run/detached`), or its list (`Drop` in `list/list`)
//
// A recorder (`testing`) keeps lists at step 6. `run/recorded` is its view of them, and runs a single job in a task of its own.
//
// Imports and calls point down. A call through a trait counts as a call into the folder of the trait: `limits/semaphore` grants
// through `Grantee`, and lists know jobs as `Segment`.
//
//     testing
//     defer
//     runner
//     run
//     job
//     list
//     limits  observe  store
//     model
//     primitives

mod defer;
mod job;
mod limits;
mod list;
mod model;
mod observe;
mod primitives;
mod run;
mod runner;
mod store;
#[cfg(feature = "testing")]
pub mod testing;

#[cfg(feature = "metrics")]
pub use self::runner::metrics;
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

/// Events of jobs, for [`RunnerBuilder::on_event`].
pub mod event {
    pub use crate::observe::event::{JobEvent, JobEventKind};
}

/// Middleware around the attempts of jobs, for [`RunnerBuilder::around`].
pub mod middleware {
    pub use crate::job::middleware::Next;
}

/// Queues outside this process, for [`RunnerBuilder::queue`]. Implement [`Queue`](queue::Queue) to connect your own.
pub mod queue {
    pub use crate::{
        model::metadata::Metadata,
        runner::{Ran, Resume, Resumed, RunWorker},
        store::{
            AtMostEvery, Cancel, End, Envelope, FailedJob, FailureGroup, Hold, HoldJobs, Holder,
            InspectQueue, JobFilter, Lease, NameCounts, OnQueueFailure, Process, Queue, QueueCounts,
            QueuedJob, QueuedState, Ready, Replace, Settle, Settled, Start, Stop, decode,
        },
    };
}

/// For the derive and for `defer-axum`.
#[doc(hidden)]
pub mod __private {
    pub use serde;

    pub use crate::{
        __decode as decode, __show as show,
        job::{
            batch::{Batched, Batching, batching},
            job::{cloned, job_result},
            show::{Show, Shown, Unshown},
            stored::read_stored,
        },
        model::{extensions::Extensions, request::Captured},
        observe::hooks::{Observer, Report},
        primitives::timestamp::Timestamp,
        run::batch::{Hurry, failed_alone, run_alone},
        store::codec::{Decode, Decoded, Encode, Queued, Stored, Undecoded, encode},
    };
}

/// The README's example, compiled as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
