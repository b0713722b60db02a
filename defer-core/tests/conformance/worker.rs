//! What both queues' workers share: they find a job's type by its name.

use std::iter::once;

use defer_core::{
    Deferrable, Runner,
    queue::{Envelope, Ran, Resume},
    testing::{Note, Retried},
};

/// Runs one attempt of a job on this runner.
pub(crate) async fn run(runner: &Runner, job: &Envelope, resume: Resume) -> Ran {
    if is_of::<Note>(job) {
        run_as::<Note>(runner, job, resume).await
    } else {
        assert!(is_of::<Retried>(job), "no type is named {}", job.name);
        run_as::<Retried>(runner, job, resume).await
    }
}

fn is_of<J: Deferrable>(job: &Envelope) -> bool {
    once(&J::NAME).chain(J::ALIASES).any(|name| *name == job.name)
}

async fn run_as<J: Deferrable>(runner: &Runner, job: &Envelope, resume: Resume) -> Ran {
    let decode = J::DECODE.unwrap();
    runner.resume(decode(&job.payload).unwrap(), resume).unwrap().ran().await
}
