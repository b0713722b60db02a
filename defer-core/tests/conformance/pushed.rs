//! A queue to which jobs are pushed, and nothing else: the least that there is.

use std::{
    iter::once,
    sync::{Arc, Mutex},
};

use defer_core::{
    BoxError, BoxFuture, Deferrable, Runner,
    queue::{Envelope, Queue, Ran, Resume},
    testing::{Note, Place, Retried},
};
use tokio::time::{Instant, sleep_until};

use crate::Broken;

/// A queue in memory. Its clones are connections to one place.
#[derive(Clone)]
pub(crate) struct Pushed {
    rows: Arc<Mutex<Vec<Row>>>,
    broken: Option<Broken>,
}

#[derive(Clone)]
struct Row {
    job: Envelope,
    attempts: u32,
    /// None once it has ended. It stays, because its id may be pushed again.
    due: Option<Instant>,
}

impl Queue for Pushed {
    fn push(&self, mut jobs: Vec<Envelope>) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async move {
            // Where another one would wait for its database.
            tokio::task::yield_now().await;
            match self.broken {
                Some(Broken::LosesOneOfABatch) if jobs.len() > 100 => drop(jobs.pop()),
                Some(Broken::LosesMetadata) => jobs.iter_mut().for_each(|job| job.metadata.clear()),
                Some(Broken::CutsPayloads) => jobs.retain(|job| job.payload.len() < 65_536),
                _ => {}
            }
            let mut rows = self.rows.lock().unwrap();
            for job in jobs {
                let is_new = rows.iter().all(|row| row.job.id != job.id);
                if is_new || self.broken == Some(Broken::StoresAnIdTwice) {
                    let due = Some(Instant::now() + job.delay);
                    rows.push(Row { job, attempts: 0, due });
                }
            }
            Ok(())
        })
    }
}

impl Pushed {
    /// Returns the row that is due next, with its place.
    fn next(&self) -> Option<(usize, Row)> {
        let rows = self.rows.lock().unwrap();
        let waiting = rows.iter().enumerate().filter(|(_, row)| row.due.is_some());
        waiting.min_by_key(|(_, row)| row.due).map(|(at, row)| (at, row.clone()))
    }

    async fn work(&self, runner: &Runner) {
        if self.broken == Some(Broken::NeverWorks) {
            std::future::pending::<()>().await;
        }
        while let Some((at, row)) = self.next() {
            sleep_until(row.due.unwrap()).await;
            let resume = Resume::new(row.job.id, row.attempts, row.job.metadata.clone());
            let ran = run(runner, &row.job, resume).await;
            let row = &mut self.rows.lock().unwrap()[at];
            row.due = match ran {
                Ran::Retry { .. } if self.broken == Some(Broken::NeverRetries) => None,
                Ran::Retry { delay, .. } => {
                    row.attempts += if self.broken == Some(Broken::CountsAttemptsTwice) { 2 } else { 1 };
                    Some(Instant::now() + delay)
                }
                Ran::Snoozed { delay, .. } => Some(Instant::now() + delay),
                Ran::Unfinished => Some(Instant::now()),
                _ => None,
            };
        }
    }
}

pub(crate) struct PushedPlace(Pushed);

impl PushedPlace {
    pub(crate) fn new(broken: Option<Broken>) -> Self {
        Self(Pushed { rows: Arc::default(), broken })
    }
}

impl Place for PushedPlace {
    type Queue = Pushed;

    async fn connect(&self) -> Pushed {
        self.0.clone()
    }

    async fn work(queue: Pushed, runner: Runner) {
        queue.work(&runner).await;
    }
}

/// Runs one attempt of a job on this runner.
async fn run(runner: &Runner, job: &Envelope, resume: Resume) -> Ran {
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
