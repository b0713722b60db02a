//! Caches the queue's contents. Asks the queue at most every two seconds. The live page never waits for it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use defer_core::{JobId, Runner, queue::QueuedJob};

use super::{
    answer::{answer_of, inspectable},
    inspected::{Inspected, age_job, bound_job},
};

/// The longest that an answer counts as new.
const MAX_AGE: Duration = Duration::from_secs(2);
/// The number of viewed jobs to cache.
const JOBS: usize = 32;

/// The latest answers.
#[derive(Default)]
pub(crate) struct Cache {
    latest: Mutex<Latest>,
    /// The time of the last request to the queue. Locked during a request, so that only one is made and the others wait.
    asked: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Latest {
    inspected: Inspected,
    /// The time of that answer.
    answered: Option<Instant>,
    /// The viewed jobs, the latest last.
    jobs: Vec<(JobId, Instant, Option<QueuedJob>)>,
}

impl Cache {
    /// Returns the latest answer. `None` if the runner has no queue that can be inspected.
    pub(crate) fn get(&self, runner: &Runner) -> Option<Inspected> {
        inspectable(runner)?;
        let latest = self.latest();
        let mut inspected = latest.inspected.clone();
        inspected.age(latest.answered.map_or(Duration::ZERO, |answered| answered.elapsed()));
        Some(inspected)
    }

    /// Asks the queue, unless the latest answer is new enough. Takes no longer than the queue may.
    pub(crate) async fn refresh(&self, runner: &Runner) {
        let mut asked = self.asked.lock().await;
        if asked.is_some_and(|asked| asked.elapsed() < MAX_AGE) {
            return;
        }
        let of_runner = runner.clone();
        let answer = answer_of(async move {
            match inspectable(&of_runner) {
                Some(queue) => Inspected::ask(queue).await,
                None => Ok(Inspected::default()),
            }
        });
        let answer = answer.await;
        let mut latest = self.latest();
        match answer {
            Ok(answer) => (latest.inspected, latest.answered) = (answer, Some(Instant::now())),
            Err(why) => {
                let since = latest.inspected.unreachable.map_or_else(SystemTime::now, |(since, _)| since);
                latest.inspected.unreachable = Some((since, why));
            }
        }
        *asked = Some(Instant::now());
    }

    /// Marks the cached answers as out of date.
    pub(crate) async fn forget(&self) {
        *self.asked.lock().await = None;
        self.latest().jobs.clear();
    }

    /// Returns the queue's answer about a job. `None` if it does not know the job, or was not asked.
    pub(crate) fn job(&self, id: JobId) -> Option<QueuedJob> {
        let latest = self.latest();
        let (_, asked, job) = latest.jobs.iter().find(|(known, ..)| *known == id)?;
        let mut job = job.clone()?;
        age_job(&mut job, asked.elapsed());
        Some(job)
    }

    /// Asks the queue about a job, unless the latest answer is new enough. Takes no longer than the queue may.
    pub(crate) async fn refresh_job(&self, runner: &Runner, id: JobId) {
        let is_new = |(known, asked, _): &(JobId, Instant, _)| *known == id && asked.elapsed() < MAX_AGE;
        if self.latest().jobs.iter().any(is_new) {
            return;
        }
        let runner = runner.clone();
        let answer = answer_of(async move {
            match inspectable(&runner) {
                Some(queue) => queue.job(id).await,
                None => Ok(None),
            }
        });
        // After a failure the last answer stays, and the queue is not asked sooner.
        let mut answer = answer.await.unwrap_or_else(|_| self.job(id));
        if let Some(job) = &mut answer {
            bound_job(job);
        }
        let jobs = &mut self.latest().jobs;
        jobs.retain(|(known, ..)| *known != id);
        if jobs.len() == JOBS {
            jobs.remove(0);
        }
        jobs.push((id, Instant::now(), answer));
    }

    fn latest(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
