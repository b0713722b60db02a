//! The list of one request's jobs.
//!
//! One lock guards a list's state. [`state`](self::state) has every transition of it and no effect: a transition returns
//! what is left to do, and [`list`](self::list) does that after it has unlocked. User code therefore cannot run under the
//! lock, and every job ends and is counted exactly once, whoever comes first.
//!
//! A job:
//!
//! | state | what happens | next state | counted as |
//! |---|---|---|---|
//! | | `push` | `Waiting` | `deferred` |
//! | | `push`, no room, and the runner sheds | | `shed` |
//! | `Waiting` | `cancel`, `cancel_key` | `Ended` | `cancelled` |
//! | `Waiting` | `release`, no room, and the runner sheds | `Ended` | `shed` |
//! | `Waiting` | `end`: its condition is false, or panics | `Ended` | `skipped`, `failed` |
//! | `Waiting`, `Running`, `Backoff` | `end_queued`: the queue has it | `Ended` | `queued` |
//! | `Waiting`, `Backoff` | `start`: an attempt starts | `Running` | |
//! | `Running` | `end_attempt`: it succeeded, or no attempt follows | `Ended` | `succeeded`, `failed` |
//! | `Running` | `end_attempt`: another attempt follows | `Backoff` | `retried` |
//! | `Backoff` | `end`: its task is gone, or there is no timer | `Ended` | `abandoned`, `failed` |
//! | `Waiting`, `Running` | `lose_worker`: its worker is gone | `Ended` | `abandoned` |
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
//! A list that turns `Active` asks the runner for a permit, and with that it spawns its worker.

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
    list::{Origin, RunSegment, Worker},
    segment::Segment,
};
