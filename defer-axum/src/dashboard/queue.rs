//! What the queue has, asked for at most every two seconds, and never waited for by the live page.

use std::{
    future::Future,
    mem,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use defer_core::{
    BoxError, JobId, Runner,
    queue::{FailedJob, InspectQueue, QueueCounts},
};
use tokio::time::timeout;

use super::bounded::bounded;

/// How many failed jobs are shown.
const FAILED: usize = 20;
/// How many names are shown of what nobody takes.
const UNCLAIMED: usize = 20;
/// How old what the page shows may be.
const MAX_AGE: Duration = Duration::from_secs(2);
/// How long the queue may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const TOO_LONG: &str = "The queue did not answer within 5 s.";

/// What the queue had when it was last asked.
#[derive(Clone, Default)]
pub(super) struct Inspected {
    pub(super) counts: QueueCounts,
    pub(super) failed: Vec<FailedJob>,
    /// What is due and nobody takes.
    pub(super) unclaimed: Vec<String>,
    /// Why it could not be asked since. Not the queue's own words: they may name a user, a host or a password.
    pub(super) error: Option<&'static str>,
}

/// The latest answer.
#[derive(Default)]
pub(super) struct Cache {
    inspected: Mutex<Inspected>,
    /// When it was last asked. Locked while it is: one asks, and the others wait.
    asked: tokio::sync::Mutex<Option<Instant>>,
}

impl Cache {
    /// Returns the latest answer. `None` if the runner has no queue that can be looked into.
    pub(super) fn get(&self, runner: &Runner) -> Option<Inspected> {
        inspectable(runner)?;
        Some(self.inspected.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Asks the queue, unless the latest answer is new enough. Takes at most as long as the queue may.
    pub(super) async fn refresh(&self, runner: &Runner) {
        let mut asked = self.asked.lock().await;
        if asked.is_some_and(|asked| asked.elapsed() < MAX_AGE) {
            return;
        }
        self.ask(runner).await;
        *asked = Some(Instant::now());
    }

    /// Runs a failed job again. Returns whether there was such a job.
    pub(super) async fn retry(&self, runner: &Runner, id: JobId) -> Result<bool, &'static str> {
        let runner = runner.clone();
        let retried = answer_of(async move {
            match inspectable(&runner) {
                Some(queue) => queue.retry(id).await,
                None => Ok(false),
            }
        });
        let retried = retried.await?;
        // What was asked before is out of date.
        *self.asked.lock().await = None;
        Ok(retried)
    }

    async fn ask(&self, runner: &Runner) {
        let runner = runner.clone();
        let answer = answer_of(async move {
            let Some(queue) = inspectable(&runner) else { return Ok(Inspected::default()) };
            let (counts, mut failed) = (queue.counts().await?, queue.failed(FAILED).await?);
            failed.truncate(FAILED);
            for job in &mut failed {
                (job.name, job.error) = (bounded(&job.name), bounded(&job.error));
            }
            let unclaimed = queue.unclaimed().await?;
            let unclaimed = unclaimed.iter().take(UNCLAIMED).map(bounded).collect();
            Ok(Inspected { counts, failed, unclaimed, error: None })
        });
        let answer = answer.await;
        let mut inspected = self.inspected.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok(answer) => *inspected = answer,
            Err(error) => inspected.error = Some(error),
        }
    }
}

fn inspectable(runner: &Runner) -> Option<&dyn InspectQueue> {
    runner.queue()?.inspect()
}

/// Waits for an answer of the queue, which is user code and may fail, panic or hang, also when it is dropped: it has a task of
/// its own. Returns what to tell the page then.
async fn answer_of<T: Send + 'static>(
    answer: impl Future<Output = Result<T, BoxError>> + Send + 'static,
) -> Result<T, &'static str> {
    let logged = async {
        answer.await.map_err(|error| {
            tracing::warn!(target: "defer", %error, "the dashboard could not ask the queue");
            "The queue could not be asked. The log says why."
        })
    };
    let limited = async { timeout(ANSWER_WITHIN, logged).await.unwrap_or(Err(TOO_LONG)) };
    tokio::spawn(limited).await.unwrap_or_else(|panicked| {
        // What it panicked with may panic when it is dropped.
        mem::forget(panicked);
        Err("The queue panicked.")
    })
}
