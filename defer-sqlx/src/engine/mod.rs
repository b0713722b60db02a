//! One process's share of its queue: a holder of jobs, as the database knows it.
//!
//! | file | hides |
//! |---|---|
//! | `convert` | how a job and its response are stored in a row |
//! | `rows` | how a row is shown to callers that inspect the queue |
//! | `clock` | which clock measures the age of an answer |
//! | `held` | the state of one job that this process has |
//! | `ops` | pending writes |
//! | `due` | when jobs that this process delayed become due |
//! | `identity` | how the database knows this process, and whether it still does |
//! | `others` | the other holders of the queue, as seen by this process |
//! | `workers` | which job types this process takes |
//! | `engine` | the state that all clones, leases and workers of a queue share |
//! | `writer` | how pending writes are committed, split and retried |
//! | `beats` | how this holder stays alive, and how it judges others |
//! | `owner` | what keeps the holder alive |
//! | `lease` | how a job is leased to the task that runs it |
//! | `threads` | on which threads all of this runs |

mod beats;
mod clock;
mod convert;
mod due;
#[allow(clippy::module_inception, reason = "the file of the type")]
mod engine;
mod held;
mod identity;
mod lease;
mod ops;
mod others;
mod owner;
mod rows;
mod threads;
mod workers;
mod writer;

#[cfg(test)]
pub(crate) use self::threads::start_here;
pub(crate) use self::{
    convert::{millis, new_job, response, text},
    engine::Settings,
    owner::Owner,
    rows::queued_job,
    threads::start,
};
