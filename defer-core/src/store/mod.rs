//! Queues outside this process, which store jobs of `#[defer(queue)]` types.
//!
//! | file | has |
//! |---|---|
//! | `queue` | the interface that a queue implements |
//! | `hold` | the interface of a queue that holds jobs for this process |
//! | `inspect` | the interface of a queue that can be inspected |
//! | `queued` | a queue's reports about its jobs and the processes that have them |
//! | `envelope` | a job as a queue stores it |
//! | `codec` | how a job is written and read |

pub(crate) mod codec;
mod envelope;
mod hold;
mod inspect;
mod queue;
mod queued;

pub(crate) use self::queue::push;
pub use self::{
    codec::decode,
    envelope::{AtMostEvery, Envelope, Replace},
    hold::{End, Hold, HoldJobs, Lease, Ready, Settle, Settled, Start, Stop},
    inspect::{Cancel, FailedJob, InspectQueue, QueueCounts},
    queue::{OnQueueFailure, Queue},
    queued::{FailureGroup, Holder, JobFilter, NameCounts, Process, QueuedJob, QueuedState},
};
