//! Queues outside this process, which store jobs of `#[defer(queue)]` types.
//!
//! | file | has |
//! |---|---|
//! | `queue` | the interface that a queue implements |
//! | `hold` | the interface to one that holds jobs for this process |
//! | `inspect` | the interface to look into one |
//! | `queued` | what it tells of jobs and of the processes that have them |
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
    envelope::Envelope,
    hold::{End, Hold, HoldJobs, Lease, Ready, Settle, Settled, Start, Stop},
    inspect::{Cancel, FailedJob, InspectQueue, QueueCounts},
    queue::{OnQueueFailure, Queue},
    queued::{FailureGroup, Holder, JobFilter, NameCounts, Process, QueuedJob, QueuedState},
};
