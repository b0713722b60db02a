//! The list of one request's jobs.
//!
//! One lock guards a list's state. [`state`](self::state) has every transition of it. A transition changes nothing but the
//! list and how much room it takes of the runner's. What else follows it returns, and [`list`](self::list) does that after it
//! has unlocked. User code therefore cannot run under the lock, and every job ends and is counted exactly once.
//!
//! A job:
//!
//! | state | what happens | next state | counted as |
//! |---|---|---|---|
//! | | `makes_room`: it may join, and `push` | `Waiting` | `deferred` |
//! | | `makes_room`: there is none, and the runner sheds | | `deferred`, `shed` |
//! | `Waiting` | `cancel`, `cancel_key` | `Ended` | `cancelled` |
//! | `Waiting` | `release`, no room, and the runner sheds | `Ended` | `shed` |
//! | `Waiting` | `end`: its condition is false, or panics | `Ended` | `skipped`, `failed` |
//! | `Waiting`, `Running`, `Backoff` | `end_queued`: the queue has it | `Ended` | `queued` |
//! | `Waiting` | `start`, with a condition, which is to be asked | `Waiting` | |
//! | `Waiting`, `Backoff` | `start`, `start_unasked`: an attempt starts | `Running` | |
//! | `Running` | `end_attempt`: it succeeded, or no attempt follows | `Ended` | `succeeded`, `failed` |
//! | `Running` | `end_attempt`: another attempt follows | `Backoff` | `retried` |
//! | `Backoff` | `end`: there is no timer | `Ended` | `failed` |
//! | `Running`, `Backoff` | `end`: the task that retries it is gone | `Ended` | `abandoned` |
//! | `Waiting`, `Running` for the first time | `lose_worker` | `Ended` | `abandoned` |
//! | `Waiting`, `Running`, `Backoff` | `stop`: the queue cannot take it | `Ended` | `abandoned` |
//! | `Waiting`, `Running`, `Backoff` | `stop`: the queue is asked to take it | `HandedOver` | |
//! | `HandedOver` | `end_handover` | `Ended` | `queued`, `abandoned` |
//!
//! Any other transition leaves the job as it is. A list:
//!
//! | state | what happens | next state |
//! |---|---|---|
//! | `Collecting` | `release`, with jobs that wait | `Active` |
//! | `Collecting` | `release`, without | `Idle` |
//! | `Idle` | `push` | `Active` |
//! | `Active` | `take_segment`, with none left; `lose_worker` | `Idle` |
//!
//! A list that turns `Active` asks the runner for a permit, and with that it spawns its worker. `stop` aborts the worker and
//! leaves the list `Active`: the worker is lost then, which is the transition to `Idle`.

mod admission;
mod collect;
mod effects;
mod entry;
mod handover;
#[allow(clippy::module_inception, reason = "the file of the type")]
mod list;
mod run;
mod segment;
mod state;

pub use self::list::JobList;
#[cfg(feature = "testing")]
pub(crate) use self::list::Recorded;
pub(crate) use self::{
    entry::{Entry, Predicate},
    list::{Origin, RunSegment, WorkerGuard},
    segment::Segment,
};
