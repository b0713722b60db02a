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
//! | `Waiting` | `cancel`, `cancel_key`, unless the queue may have it | `Ended` | `cancelled` |
//! | `Waiting` | `release`, no room, and the runner sheds | `Ended` | `shed` |
//! | `Waiting`, `Pushing` | `end`: its condition is false, or panics | `Ended` | `skipped`, `failed` |
//! | `Waiting` | `begin_push`: it is for the queue | `Pushing` | |
//! | `Pushing` | `end_queued`: the queue has it | `Ended` | `queued` |
//! | `Pushing` | `fail_push`: the queue has not, or may not have it | `Waiting` | |
//! | `Waiting` | `start`, of a job for the queue that is not pushed | `Waiting` | |
//! | `Waiting` | `start`, with a condition, which is to be asked | `Waiting` | |
//! | `Waiting`, `Backoff` | `start`, `start_unasked`: an attempt starts | `Running` | |
//! | `Running` | `end_attempt`: it succeeded, or no attempt follows | `Ended` | `succeeded`, `failed` |
//! | `Running` | `end_attempt`: another attempt follows | `Backoff` | `retried` |
//! | `Running` | `end_attempt`: another follows, by the queue that it is from | `Ended` | `retried`, `queued` |
//! | `Waiting` | `start`, `start_unasked` of a delayed job | `Backoff` | |
//! | `Backoff` | `end`: there is no timer | `Ended` | `failed` |
//! | `Running`, `Backoff` | `end`: the task that retries it is gone | `Ended` | `abandoned` |
//! | `Waiting`, `Pushing`, `Running` without a task of its own | `lose_worker` | `Ended` | `abandoned` |
//! | any but `HandedOver` | `stop`: the queue cannot take it | `Ended` | `abandoned` |
//! | any but `HandedOver` | `stop`: the queue is asked to take it, or has it | `HandedOver` | |
//! | `HandedOver` | `end_handover` | `Ended` | `queued`, `abandoned` |
//!
//! Any other transition leaves the job as it is. A list:
//!
//! | state | what happens | next state |
//! |---|---|---|
//! | `Collecting` | `release`, with jobs that wait | `Active` |
//! | `Collecting` | `release`, without | `Idle` |
//! | `Idle` | `push`, `fail_push` | `Active` |
//! | `Active` | `take_segment`, with none left; `lose_worker` | `Idle` |
//!
//! A list that turns `Active` asks the runner for a permit, and with that it spawns its worker. `stop` aborts the worker and
//! leaves the list `Active`: the worker is lost then, which is the transition to `Idle`.

mod admission;
mod collect;
mod effects;
mod entry;
#[allow(clippy::module_inception, reason = "the file of the type")]
mod list;
mod push;
mod run;
mod segment;
mod state;

pub use self::list::JobList;
#[cfg(feature = "testing")]
pub(crate) use self::list::Recorded;
pub(crate) use self::{
    entry::{Entry, Predicate},
    list::{Origin, RunSegment, WorkerGuard},
    run::Next,
    segment::Segment,
};
