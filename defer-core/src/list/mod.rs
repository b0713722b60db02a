//! The list of one request's jobs.
//!
//! | file | hides |
//! |---|---|
//! | `entry`, `extras`, `entries` | what is known about each job |
//! | `state` | how a job and a list get from one state to another |
//! | `segments` | where jobs are until a worker takes them |
//! | `engine` | what all lists of a runner share |
//! | `shutdown` | how a shutdown is announced |
//! | `list` | the lock, and what is done after unlocking |
//! | `change` | what handles do to a job that has not started |
//! | `unique` | which jobs with a unique key are left out, and which take the place of another |
//! | `cancel` | how a job is cancelled, wherever it is |
//! | `condition` | how a job's condition is asked |
//! | `envelope` | what a queue stores of a job |
//! | `lease` | which way a stored job goes, and how the queue is told its end |
//! | `report` | what others see of a list |
//! | `open_job`, `open_state` | what others see of a job that has not ended |
//! | `shared` | how a test looks at a job |
//! | `recording` | what a recorder and the lists of its runner share |
//! | `current` | how a thread finds its list |
//! | `panic_hook` | where in the source a job panics |
//!
//! One lock guards a list's state. [`state`](self::state) has every transition of it. A transition changes nothing but the
//! list and how much of the runner's room it takes. It returns what is left to do, and its caller does that after unlocking.
//! User code therefore cannot run under the lock, and every job ends and is counted exactly once.
//!
//! A job:
//!
//! | state | what happens | next state | counted as |
//! |---|---|---|---|
//! | | `makes_room` returns true, and `add` | `Waiting` | `deferred` |
//! | | `makes_room` returns false: the runner sheds | | `deferred`, `shed` |
//! | `Waiting`; `Detached`, without an attempt | `cancel`, unless the queue may have it or duplicates were left out for it | `Ended` | `cancelled` |
//! | `Waiting` | `cancel_key`, on the same condition | `Ended` | `cancelled` |
//! | `Waiting`, `Detached` | `cancel_job`; of a job from the queue only if that cannot | `Ended` | `cancelled` |
//! | `Running` | `cancel_job`, `stop_attempt`: the attempt is told, and dropped | | |
//! | `Running`, told so | `end_attempt` | `Ended` | `cancelled` |
//! | `Waiting`, `Detached`, without an attempt | `replace`, unless the queue may have it or its condition has not been asked: another takes its place | `Ended` | `cancelled` |
//! | `Waiting`, `Detached` | `advance` finds that it is a duplicate, and it is ended | `Ended` | `cancelled` |
//! | `Waiting` | `release`, without room, when the runner sheds and no push of it has failed | `Ended` | `shed` |
//! | `Waiting`, `Detached` | `begin_push`: it is for the queue; `begin_children`: a stored job that deferred it ends | `Pushing` | |
//! | `Pushing` | `fail_push`: the queue does not have it, or may not | `Waiting`; `Detached` if it has a task of its own | |
//! | `Pushing` | `store`: the queue holds it for this process | `Waiting`; `Detached` if it has a task of its own | |
//! | `Waiting`, `Detached`, held by the queue | `part`: it does not run here | `Ended` | `skipped`; `queued`, or `cancelled` if it is a duplicate |
//! | `Waiting` | `detach`: it gets a task of its own (one that is `Pushing` too, and stays that) | `Detached` | |
//! | `Waiting`, `Detached` | `advance`: it is not due, and gets a task of its own | `Detached` | |
//! | `Waiting`, `Detached` | `start` (in line), `advance`, with nothing in its way: an attempt starts | `Running` | |
//! | `Running` | `end_attempt`: another attempt follows | `Detached` | `retried`, unless it snoozes |
//! | `Running` | `end_attempt`: the queue that has it runs another attempt | `Ended` | `queued`, and `retried` unless it snoozes |
//! | `Running` | `succeed`; `end_attempt`: no attempt follows | `Ended` | `succeeded`, `failed` |
//! | any but `HandedOver`, `Ended` | `end`: its condition is false or panics, the queue has it, there is no timer, or nothing is left to run it | `Ended` | `skipped`, `failed`, `queued`, `abandoned` |
//! | any but `HandedOver`, `Ended`, in line | `lose_worker` | `Ended` | `abandoned` |
//! | any but `HandedOver`, `Ended` | `stop`: the queue cannot take it | `Ended` | `abandoned` |
//! | any but `HandedOver`, `Ended` | `stop`: the queue is asked to take it, or has it | `HandedOver` | |
//! | `HandedOver` | `end`: the queue has answered | `Ended` | `queued`, `abandoned` |
//!
//! A job that a queue has stored is reported and counted once the queue has stored its end too (`lease`). If the queue refuses
//! that, because others run the job, it counts as `queued`. A job that is stored with the end of another is on its way to the queue
//! until then; if that end is refused, it was never deferred, and counts as `cancelled`.
//!
//! Any other transition leaves the job in its state. A job is in line unless it has a task of its own, which it keeps from
//! `detach` on. The queue cannot take a job if the runner has no queue, if the job is not of a queued type, if it could not be
//! encoded, if its condition has not been asked, or if it is given up. A list:
//!
//! | state | what happens | next state |
//! |---|---|---|
//! | `Collecting` | `release`, with jobs that wait | `Active` |
//! | `Collecting` | `release`, without | `Idle` |
//! | `Idle` | `activate`, `fail_push`, with jobs that wait | `Active` |
//! | `Active` | `begin`, with none that wait; `forget_worker`, when no segment is left; `lose_worker` | `Idle` |
//!
//! A list that turns `Active` asks the runner for a permit, and with that it spawns its worker. `stop` does not change
//! the list's own state. It aborts the worker of an `Active` list, which is lost then: `lose_worker` makes the list
//! `Idle`. If the list still waits for its permit, there is no worker to lose: no segment is found when the permit comes,
//! and the list becomes `Idle`.

mod cancel;
mod change;
mod condition;
pub(crate) mod current;
pub(crate) mod engine;
mod entries;
pub(crate) mod entry;
mod envelope;
pub(crate) mod extras;
pub(crate) mod lease;
#[allow(clippy::module_inception, reason = "the file of the type")]
pub(crate) mod list;
pub(crate) mod open_job;
pub(crate) mod open_state;
pub(crate) mod panic_hook;
#[cfg(feature = "testing")]
pub(crate) mod recording;
pub(crate) mod report;
mod segments;
#[cfg(feature = "testing")]
pub(crate) mod shared;
pub(crate) mod shutdown;
pub(crate) mod state;
pub(crate) mod unique;
