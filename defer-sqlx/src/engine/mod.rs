//! What one process does for its queue: a holder of jobs, as the database knows it.
//!
//! | file | hides |
//! |---|---|
//! | `convert` | how a job and its response are written in a row |
//! | `rows` | how a row is told to those who look |
//! | `clock` | which clock tells how old an answer is |
//! | `held` | what is known of one job that this process has |
//! | `ops` | what waits to be written |
//! | `due` | when the jobs are due that this process put off |
//! | `identity` | how the database knows this process, and whether it still does |
//! | `others` | what this process has seen of the other holders of its queue |
//! | `workers` | which job types this process takes |
//! | `engine` | what all clones, leases and workers of a queue share |
//! | `writer` | how what waits is committed, split and repeated |
//! | `beats` | how this holder stays alive, and judges others |
//! | `owner` | what keeps it alive |
//! | `lease` | how a job is given to whoever runs it |
//! | `threads` | where all of that runs |

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
