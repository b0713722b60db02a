//! Jobs, the scope that collects them, and the runner that runs them: what `defer-axum` is built on.
//!
//! A service on axum depends on `defer-axum` alone, which re-exports what is here. Depend on this crate to defer outside
//! of HTTP, with [`scope()`], or to build a middleware for another framework, with [`Scope`].

#![cfg_attr(docsrs, feature(doc_cfg))]

// For maintainers: how a job gets from `defer` to its end, and which file does each step.
//
// 1. `defer` (which `MyJob::defer` calls) chooses the kind of work (`work`) and asks `scope/current` for the list of the
//    current request. The first job creates the list, or the first `Defer::current()`: `JobList::new` is in `list/list`.
//    Outside of any scope, `defer` makes a list on `Runner::global` (`builder`) and releases it at once.
// 2. `list/collect` encodes a job for the queue and adds the job to the list: an entry, and the job itself in a segment,
//    beside others of its type.
// 3. The handler has answered. `list/admission` (`try_admit`, `admit`) has `list/push` push the jobs that are for the
//    queue, and holds the response until `runner/capacity` has room for the others. `runner/usher` lets held responses
//    through.
// 4. The response is over. A middleware or `scope/scope` calls `release` in `list/run`. Jobs with a serial key take their
//    places (`runner/lanes`). If jobs wait, the list becomes `Active`, otherwise `Idle`, until a job joins. Those that are
//    superfluous are left out (`list/gates`), those that run beside the line leave it (`list/beside`), and an `Active` list
//    requests a permit.
// 5. `runner/semaphore` grants the permit, through `runner/jobs`, to `list/run`, which takes the first segment and spawns a
//    worker (`RunSegment` and `WorkerGuard` in `list/list`). `worker` runs the jobs, segment by segment, one after another.
// 6. `list/run` starts the attempt. Before that `list/gates` asks the job's condition, if there is one and a response to
//    ask about; the worker waits for the job's turn, if it has to take turns with others. A delayed job (`Turn::Delay`) gets
//    a task of its own in `worker`, which waits, gets a permit of its own, and comes back to this step.
// 7. `attempt` polls the job, in its span and within its timeout. It defines the trait `Work`; the kinds are in `work`. If
//    the runner has something to put around its jobs, `around` and `watchdog` do that.
// 8. `list/run` ends the attempt; a job that is given up is told first, by `worker`. Either the job ends, `event` reports it and `stats` counts it. Or another attempt
//    follows: a task of the job's own in `worker` waits as long as `runner/backoff` says, and goes on like that of a
//    delayed job.
//
// Every step that changes a job or a list is a transition in `list/state`; the tables are in `list`.
//
// A push to the queue begins in five places: `list/admission`, `release_now` (`list/run`), `list/collect` after the
// release, and in `worker` at the end of an attempt and in the wait for a push (`resume` waits like that too).
//
// What else ends a job:
//
// - no room at step 2 (`list/collect`) or step 4 (`list/run`)
// - `cancel`, or a later job with its key (`list/collect`); another with its unique key (`list/gates`)
// - the queue, which took it (`list/push`), or runs its next attempt (`list/run`)
// - a condition that is false or panics (`list/gates`; of a queued job, `list/push`)
// - a shutdown: `runner/shutdown` stops the lists, pushes what the queue can take, and tells `list/run` whether it did
// - a `Resumed` that is dropped (`resume`)
// - a worker that is lost, or a `JobList` that is dropped (`list/list`)
// - a task of its own that is lost, or that finds no timer (`worker`)
//
// A recorder (`testing`) keeps the list at step 4. `list/recorded` is what it sees of a list, and lets one job go on to step 6,
// in a task of its own.
//
// Imports point down, and in a line from left to right:
//
//     testing  defer  resume  work  builder
//     metrics
//     worker
//     scope: scope, current
//     list:  recorded, collect, admission, run, push, beside, gates, list, state, effects, segment, entry
//     runner: shutdown, usher, runner, uniques, lanes, jobs, load, capacity, semaphore, backoff
//     trace, attempt
//     queue, job, around, watchdog, status, context, event
//     response, request, carried, state, stats, policy, error, id, span, stamp, future, panic, sync

mod around;
mod attempt;
mod builder;
mod carried;
mod context;
mod defer;
mod error;
mod event;
mod future;
mod id;
mod job;
mod list;
#[cfg(feature = "metrics")]
pub mod metrics;
mod panic;
mod policy;
mod queue;
mod request;
mod response;
mod resume;
mod runner;
mod scope;
mod span;
mod stamp;
mod state;
mod stats;
mod status;
mod sync;
#[cfg(feature = "testing")]
pub mod testing;
mod trace;
mod watchdog;
mod work;
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

/// The README's example, compiled as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
