//! Jobs, the scope that collects them, and the runner that runs them: what `defer-axum` is built on.
//!
//! A service on axum depends on `defer-axum` alone, which re-exports what is here. Depend on this crate to defer outside
//! of HTTP, with [`scope()`], or to build a middleware for another framework, with [`Scope`].

// For maintainers: how a job gets from `defer` to its end, and which file does each step.
//
// 1. `defer` takes the job (`MyJob::defer` calls it), and asks `scope/current` for the list of the current request. The
//    first job of a request creates the list.
// 2. `list/collect` encodes a job for the queue and adds the job to the list: an entry, and the job itself in a segment,
//    beside others of its type.
// 3. The response is over. A middleware or `scope/scope` calls `release` in `list/run`, and the list becomes `Active`, as it
//    does later whenever a job joins an idle one. Each time it requests a permit.
// 4. `runner/semaphore` grants the permit, and `list/run` takes the first segment and makes a worker.
// 5. `worker` is the task that goes through the segments, one job after another.
// 6. `list/run` asks the job's condition, if there is one and a response to ask about, and starts the attempt.
// 7. `attempt` polls the job, in its span and within its timeout. `work` has the kinds of jobs.
// 8. `list/run` ends the attempt: the job ends and is reported by `event` and counted by `stats`, or a task in `worker` waits,
//    gets a permit of its own, and goes back to step 6.
//
// Every step that changes a job or a list is a transition in `list/state`; the tables are in `list`. What else ends a job: no
// room at step 2 or 3, `cancel` (`list/collect`), the queue (`list/push`), a condition that is false or panics
// (`list/run`), a shutdown (`runner/shutdown`, and `list/run` where the queue was asked), a lost worker (`list/list`), and a
// retry whose task is lost or that finds no timer (`worker`). A recorder (`testing`) keeps the list at step 3.
//
// Imports point down, and in a line from left to right:
//
//     testing  defer  resume  work  builder
//     worker
//     scope: scope, current
//     list:  collect, admission, run, push, list, state, effects, segment, entry
//     runner: shutdown, usher, runner, jobs, capacity, semaphore, backoff
//     attempt
//     job, context, event, queue
//     request, response, state, stats, policy, error, id, panic, sync

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
mod resume;
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
    id::{InvalidJobId, JobId},
    job::{Deferrable, IntoJobResult, Job},
    list::JobList,
    policy::{On, Policy},
    queue::{BoxFuture, Envelope, Metadata, Queue, Ran, decode},
    request::RequestInfo,
    response::{Delivery, ResponseInfo},
    resume::{Resume, Resumed},
    runner::{Overflow, Runner, ShutdownReport, UnfinishedJob},
    scope::{Scope, Scoped, scope},
    stats::Stats,
};

/// For the derive and for `defer-axum`.
#[doc(hidden)]
pub mod __private {
    pub use crate::{
        __decode as decode,
        job::{Decode, Encode},
        queue::{Decoded, Queued, Undecoded, encode},
        scope::current::while_swapped,
    };
}
