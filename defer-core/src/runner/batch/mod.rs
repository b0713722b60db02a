//! One request's jobs, from the first deferral to the last end, and what is shared by all who deal with them: the
//! request that collects, the handles it gives out, the worker, the retries, the shutdown.
//!
//! The rule that keeps the counts right: a job's way is a row of steps in the collector, taken under the lock, and only
//! who takes the step to `Ended` counts it. So it does not matter who comes first where two try.

mod collect;
mod leave;
mod run;
mod state;

pub(crate) use self::{
    run::{Next, Start},
    state::{Batch, Origin},
};
