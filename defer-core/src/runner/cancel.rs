//! Cancels a job, wherever it is.

use std::sync::Arc;

use tokio::task::yield_now;

use super::runner::Runner;
use crate::{
    list::{list::JobList, state::Asked},
    model::{error::BoxError, id::JobId, status::JobStatus},
    run::push::answered,
    store::Cancel,
};

/// The number of times to look for a known job that no list has.
const LOOKS: u32 = 100;

impl Runner {
    /// Cancels a job by its id, wherever it is, and returns the result.
    ///
    /// | the job | effect |
    /// |---|---|
    /// | waits for its response, its turn, a delay or its next attempt | it ends as cancelled |
    /// | runs here | [`JobContext::cancelled`](crate::JobContext::cancelled) completes, and the job is polled once more, then dropped at its next `.await`. If it returns `Ok` before that, it has succeeded. If it returns an error, it is cancelled: it is not retried, and [`Job::failed`](crate::Job::failed) is not called |
    /// | is [blocking](crate::Policy::with_blocking) and runs here | [`JobContext::cancelled`](crate::JobContext::cancelled) completes, and the job goes on until it returns |
    /// | is on its way to the queue | the queue cancels it once it has answered |
    /// | is durable | its [queue](crate::queue::InspectQueue::cancel) cancels it, in whichever process it runs |
    ///
    /// A running job ends as [`Cancelled`](crate::JobStatus::Cancelled) once it has been dropped. [`watch`](Self::watch) tells
    /// you when.
    ///
    /// This is stronger than [`Deferred::cancel`](crate::Deferred::cancel): it also cancels a
    /// [`unique`](crate::Deferred::unique) job whose duplicates were dropped, and watchers of these duplicates see that it was
    /// cancelled. The id of a duplicate does not cancel the job that runs in its place: the duplicate itself has
    /// [ended](Cancel::Ended).
    ///
    /// A job that has ended is [`Unknown`](Cancel::Unknown), unless the runner [keeps its
    /// outcome](crate::RunnerBuilder::keep_outcomes) or the queue still has it. This call looks at every request that has jobs.
    /// Ids can be guessed from one another, so check that the client may cancel the job.
    ///
    /// ```
    /// use defer_core::{Cancel, JobStatus, Runner, defer_fn, scope};
    /// # use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let runner = Runner::builder().keep_outcomes(10_000).build();
    /// let id = scope(&runner, async {
    ///     defer_fn(|_| async { println!("your cart is still here") }).delay(Duration::from_secs(3600)).id()
    /// })
    /// .await;
    /// assert_eq!(runner.cancel(id).await, Cancel::Cancelled);
    /// assert_eq!(runner.status(id).await, Some(JobStatus::Cancelled));
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the job may be cancelled or not.
    pub async fn cancel(&self, id: JobId) -> Cancel {
        for _ in 0..LOOKS {
            if let Some(answer) = self.cancel_here(id).await {
                return answer;
            }
            let known = self.engine.outcomes().and_then(|outcomes| outcomes.get(id));
            match known {
                Some(JobStatus::Queued) | None => {
                    return match self.ask_queue(id).await {
                        Some(Ok(answer)) => answer,
                        Some(Err(_)) => Cancel::Failed,
                        None => Cancel::Unknown,
                    };
                }
                Some(known) if known.ends_here() => return Cancel::Ended,
                // It is being added right now, or its end is being reported.
                Some(_) => yield_now().await,
            }
        }
        Cancel::Ended
    }

    /// Cancels a job of a list. `None` if no list has it.
    async fn cancel_here(&self, id: JobId) -> Option<Cancel> {
        let mut though_queued = false;
        loop {
            let (list, asked) = self.ask(id, though_queued)?;
            return Some(match asked {
                Asked::Ended { is_unsure: true } => match self.ask_queue(id).await {
                    Some(Ok(Cancel::Unknown)) => Cancel::Cancelled,
                    Some(Ok(answer)) => answer,
                    Some(Err(_)) | None => Cancel::Failed,
                },
                // The queue could not be told before. It learns of the cancellation with the job's end.
                Asked::Ended { .. } if though_queued => Cancel::Asked,
                Asked::Ended { .. } => Cancel::Cancelled,
                Asked::Runs(_) => Cancel::Asked,
                Asked::Pushing { index } => {
                    answered(&list, index).await;
                    continue;
                }
                Asked::Queued { is_leased } => match self.ask_queue(id).await {
                    Some(Ok(answer)) if answer != Cancel::Unknown => answer,
                    _ if is_leased && !though_queued => {
                        though_queued = true;
                        continue;
                    }
                    _ => Cancel::Failed,
                },
            });
        }
    }

    /// Asks the list that has the job, if any.
    fn ask(&self, id: JobId, though_queued: bool) -> Option<(Arc<JobList>, Asked)> {
        self.engine.lists().into_iter().find_map(|list| {
            let asked = list.cancel_job(id, though_queued)?;
            Some((list, asked))
        })
    }

    /// Asks the queue, if it can be inspected.
    async fn ask_queue(&self, id: JobId) -> Option<Result<Cancel, BoxError>> {
        Some(self.queue()?.inspect()?.cancel(id).await)
    }
}
