//! The list of one request's jobs.
//!
//! One lock guards a list's state. [`state`](self::state) has every transition of it. A transition changes nothing but the
//! list and how much of the runner's room it takes. It returns what else follows, and its caller in this module does that
//! after unlocking. User code therefore cannot run under the lock, and every job ends and is counted exactly once.
//!
//! A job:
//!
//! | state | what happens | next state | counted as |
//! |---|---|---|---|
//! | | `makes_room`: it may join, and `add` | `Waiting` | `deferred` |
//! | | `makes_room`: it may join, and `add_beside`: it runs beside the line, whose response is over | `Backoff` | `deferred` |
//! | | `makes_room`: there is none, and the runner sheds | | `deferred`, `shed` |
//! | `Waiting` | `cancel` (also of one that is superfluous), `cancel_key`, unless the queue may have it or others were left out for it | `Ended` | `cancelled` |
//! | `Waiting` | `release`, no room, the runner sheds, and no push of it failed | `Ended` | `shed` |
//! | `Waiting`, `Pushing` | `end`: its condition is false, or panics | `Ended` | `skipped`, `failed` |
//! | `Waiting` | `begin_push`: it is for the queue | `Pushing` | |
//! | `Pushing` | `end_queued`: the queue has it | `Ended` | `queued` |
//! | `Pushing` | `fail_push`: the queue does not have it, or may not | `Waiting` | |
//! | `Waiting` | `start`, of a job for the queue that is not pushed | `Waiting` | |
//! | `Waiting`, `Backoff` | `start`, with a gate to pass first: a condition, or a lane | the same | |
//! | `Waiting`, `Backoff` | `start`, `start_passed`: an attempt starts | `Running` | |
//! | `Waiting` | `start`, `start_passed`, of a delayed job | `Backoff` | |
//! | `Waiting` | `leave_line`, `leave_late`, `leave_for_attempt`: it gets a task of its own | `Backoff` | |
//! | `Running` | `end_attempt`: it succeeded, or no attempt follows | `Ended` | `succeeded`, `failed` |
//! | `Running` | `give_up`: it failed for good, and is told so | `Running` | |
//! | `Running` | `end_attempt`: another attempt follows | `Backoff` | `retried` |
//! | `Running` | `end_attempt`: it snoozes | `Backoff` | |
//! | `Running` | `end_attempt`: another follows, by the queue that it is from | `Ended` | `retried`, `queued` |
//! | `Running` | `end_attempt`: it snoozes, and is from a queue | `Ended` | `queued` |
//! | `Backoff` | `end`: there is no timer | `Ended` | `failed` |
//! | `Running`, `Backoff` | `end`: its own task is gone | `Ended` | `abandoned` |
//! | `Waiting`, `Pushing`, `Running` without a task of its own | `lose_worker` | `Ended` | `abandoned` |
//! | any but `HandedOver`, `Ended` | `stop`: the queue cannot take it | `Ended` | `abandoned` |
//! | any but `HandedOver`, `Ended` | `stop`: the queue is asked to take it, or has it | `HandedOver` | |
//! | `HandedOver` | `end_handover` | `Ended` | `queued`, `abandoned` |
//!
//! Any other transition leaves the job as it is. The queue cannot take a job if the runner has no queue, if the job is
//! not of a queued type, if it could not be encoded, and if its condition has not been asked. A list:
//!
//! | state | what happens | next state |
//! |---|---|---|
//! | `Collecting` | `release`, with jobs that wait | `Active` |
//! | `Collecting` | `release`, without | `Idle` |
//! | `Idle` | `add`, `fail_push` | `Active` |
//! | `Active` | `take_segment`, with none left; `lose_worker` | `Idle` |
//!
//! A list that turns `Active` asks the runner for a permit, and with that it spawns its worker. `stop` does not change
//! the list's own state. It aborts the worker of an `Active` list, which is lost then: `lose_worker` makes the list
//! `Idle`. If the list still waits for its permit, there is no worker to lose: `take_segment` finds no segment when the
//! permit comes, and makes the list `Idle`.

mod admission;
mod beside;
mod collect;
mod effects;
mod entry;
mod gates;
#[allow(clippy::module_inception, reason = "the file of the type")]
mod list;
mod push;
#[cfg(feature = "testing")]
mod recorded;
mod run;
mod segment;
mod state;

pub use self::list::JobList;
#[cfg(feature = "testing")]
pub(crate) use self::list::RecordedLists;
#[cfg(feature = "testing")]
pub use self::recorded::{JobCondition, Recorded};
pub(crate) use self::{
    entry::{Entry, Failure, Predicate},
    list::{Origin, RunSegment, WorkerGuard},
    run::Turn,
    segment::Segment,
};
