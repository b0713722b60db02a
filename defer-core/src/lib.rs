//! Jobs, the scope that collects them, and the runner that runs them: what `defer-axum` is built on.
//!
//! A service on axum depends on `defer-axum` alone, which re-exports what is here. Depend on this crate to defer outside
//! of HTTP, with [`scope()`], or to build a middleware for another framework, with [`Scope`].

#![cfg_attr(docsrs, feature(doc_cfg))]

// For maintainers: the way of a job from `defer` to its end. `list/list` is behind every step: it has the lock, and what follows
// a transition.
//
// 1. `defer/functions`: `MyJob::defer` calls `defer`, which asks for the list of the current request and adds the job.
// 2. `list/current` finds the list of the thread's scope. The first job of a request creates it. Outside of any scope, 1. takes
//    a list on the global runner and releases it at once.
// 3. `run/segment` hides the job's type (`NewJob`).
// 4. `run/join` adds the job: an entry in `list/state`, and the job itself, which chooses its kind (`job/work`) and lies beside
//    others of its type (`run/jobs`). Until it starts, its handle (`defer/deferred`) changes it by `list/change`.
// 5. The handler has answered. A middleware calls `JobList::admit`, in `run/admit`, which holds the response until there is room
//    for its jobs (`limits/capacity`). Durable jobs are stored meanwhile (`run/push`).
// 6. The response is over. A middleware or `defer/scope` calls `JobList::release`, in `run/release`: the jobs take room, and those
//    with a serial key that are due queue for their turns. The list asks for a permit.
// 7. `limits/semaphore` grants it.
// 8. `run/worker` takes the first segment and spawns the list's worker (by way of `run/segment`, which knows the type). It runs
//    the jobs one after another.
// 9. An attempt starts (`list/state/attempt`). `run/start` reports it, and has what it needs.
// 10. `run/attempt` polls the job, in its span and within its timeout.
// 11. `run/finish` ends the attempt and the job. `list/list` has `list/report` tell the hooks (`observe/hooks`), and counts the
//     job (`observe/stats`).
//
// Jobs with something in their way take a detour between 8. and 9.: `run/detour` asks a condition, sends a delayed job away, waits
// for the push to a queue (`run/push`), for turns among others (`limits/keyed_semaphore`) and for a permit, and then goes on
// with 9. to 11. itself. Blocking jobs, and those behind the first segment of a list, always go this way: their attempts are
// boxed. What a job keeps from one attempt to the next (`run/held`) is given back when it is dropped. A job that is concurrent or
// delayed, that has to wait for a turn that it queued late for, or that is tried again goes on in a task of its own,
// `run/detached`, which takes the same detour. `run/worker` (`leave`), `run/release` and `run/join` start such tasks.
//
// Jobs that run in batches (`job/batch`) leave their line at the permit: `run/member` waits for its batch (`run/batch`), which has a
// task and a permit for all of them.
//
// A queue that holds jobs gives a lease of each (`store/hold`). At 6. `list/lease` decides whether such a job stays here. If so it takes
// the detour, which waits for the lease, and at 11. `list/lease` stores the end, with the jobs that it has deferred, before it is
// reported.
//
// Every step that changes a job or a list is a transition in `list/state`; the tables are in `list`. A job may also end
//
// - by its id: `runner/cancel` asks every list (`list/cancel`) and the queue; an attempt that runs is stopped in `run/attempt`
// - by a handle: `cancel`, a later job with its key, a duplicate of another (`list/change`)
// - without room: in 4. or 6.
// - by its condition, which is false or panics (`run/detour`, `run/push`), or because there is no timer (`run/detached`,
//   `run/worker`)
// - by the queue, which took it (`run/push`), or anyone may take from it (`list/lease`)
// - by a shutdown (`runner/shutdown`) or the drop of a `Resumed` (`runner/resume`): both stop it in `run/stop`
// - with its worker (`WorkerGuard` in `list/list`), its own task (`run/detached`), or its list (`Drop` in `list/list`)
//
// A recorder (`testing`) keeps lists at 6. `run/recorded` is what it sees of them, and lets one job go on in a task of its own.
//
// Imports and calls point down. A call through a trait counts for the folder of the trait: `limits/semaphore` grants through
// `Grantee`, and lists know jobs as `Segment`.
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
    list::{current::Scoped, engine::Overflow, list::JobList, report::RunningJob},
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

/// What happens to jobs: for [`RunnerBuilder::on_event`].
pub mod event {
    pub use crate::observe::event::{JobEvent, JobEventKind};
}

/// What wraps the attempts of jobs: for [`RunnerBuilder::around`].
pub mod middleware {
    pub use crate::job::middleware::Next;
}

/// Queues outside this process: for [`RunnerBuilder::queue`], and for those who write one.
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
    pub use serde;

    pub use crate::{
        __decode as decode, __show as show,
        job::{
            batch::{Batched, Batching},
            job::{cloned, job_result},
            show::{Show, Shown, Unshown},
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
