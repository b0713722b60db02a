//! Jobs, the scope that collects them, and the runner that runs them: what `defer-axum` is built on.
//!
//! A service on axum depends on `defer-axum` alone, which re-exports what is here. Depend on this crate to defer outside
//! of HTTP, with [`scope()`], or to build a middleware for another framework, with [`Scope`].

// For maintainers: the way of a job, and the files it passes.
//
// 1. `defer` takes the job (`MyJob::defer` calls it), and asks `scope/current` for the list of the current request.
// 2. `list/collect` adds the job to that list: an entry, and the job in a segment beside others of its type.
// 3. The response is over: `list/list` releases the list. Its first transition to `Active` asks for a permit.
// 4. `runner/semaphore` grants the permit, and `list/run` takes the first segment and makes a worker.
// 5. `worker` spawns the task that runs the segments, and starts one attempt after another.
// 6. `list/run` asks the job's condition and starts the attempt.
// 7. `attempt` polls the job, in its span and within its timeout. `work` has the kinds of jobs.
// 8. `list/run` ends the attempt: the job ends and is reported by `event` and counted by `stats`, or `worker` retries it in
//    a task of its own.
//
// Every step that changes a job or a list is a transition in `list/state`; the tables are in `list`. What else ends a job:
// `cancel` (`list/collect`), a release without room (`list/list`), the queue (`list/handover`), a shutdown
// (`runner/shutdown`), a lost worker (`list/list`).
//
// Imports point down, and in a line from left to right:
//
//     testing  defer  work  builder
//     worker
//     scope: scope, current
//     list:  admission, handover, collect, run, list, state, effects, segment, entry
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
