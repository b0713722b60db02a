//! A record of a runner's jobs, in bounded memory.
//!
//! | file | hides |
//! |---|---|
//! | `journal` | the lock, and what is recorded of an event |
//! | `job_type` | which runs of a type are kept |
//! | `run` | how a run is kept small |
//! | `window` | how the times of the last minutes are kept |
//! | `day` | how minutes older than that are kept |
//! | `failures` | which failed attempts are one group |
//! | `refused` | which jobs that the queue refused belong to one outage |
//! | `outcome` | how an end is counted |
//! | `bounded`, `float` | the length of user texts; counts as floats |

pub(super) mod bounded;
pub(super) mod day;
pub(super) mod failures;
pub(super) mod float;
mod job_type;
pub(super) mod journal;
pub(super) mod outcome;
pub(super) mod refused;
pub(super) mod run;
pub(super) mod window;
