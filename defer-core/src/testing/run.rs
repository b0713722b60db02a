//! Runs recorded jobs: all of them, or one attempt of one job.

use std::{
    fmt::Write as _,
    future::{Future, poll_fn},
    panic::Location,
    pin::pin,
    task::Poll,
};

use super::recorder::Recorder;
use crate::{
    list::recording::MAX_SNOOZES,
    model::{id::JobId, response::ResponseInfo},
    observe::event::{JobEvent, JobEventKind},
    primitives::sync::lock,
    run::recorded::run_attempt,
};

impl Recorder {
    /// Runs the recorded jobs as if this response had ended, whatever their own response was, and evaluates their conditions on
    /// it. Waits like [`run_all`](Self::run_all).
    ///
    /// # Panics
    ///
    /// See [`run_all`](Self::run_all).
    ///
    /// # Cancel safety
    ///
    /// If dropped, the jobs go on.
    ///
    /// ```
    /// # use defer_core::{Delivery, ResponseInfo, defer_fn, scope, testing::Recorder};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let recorder = Recorder::new();
    /// let list = scope(recorder.runner(), async {
    ///     defer_fn(|_| async {}).on_success();
    /// });
    /// list.await;
    /// recorder.run_all_after(ResponseInfo::new(Delivery::Disconnected)).await;
    /// assert_eq!(recorder.runner().stats().skipped, 1);
    /// # }
    /// ```
    #[track_caller]
    pub fn run_all_after(&self, response: ResponseInfo) -> impl Future<Output = ()> + Send {
        let asked = Location::caller();
        async move {
            for list in self.lists() {
                list.set_response(response.clone());
            }
            self.run(asked).await;
        }
    }

    /// Runs the recorded jobs that have not run yet, in the order in which each request deferred them, and waits for them and
    /// for the jobs that they defer. To see how they ended, read [`Runner::stats`](crate::Runner::stats), or let
    /// [`run_all_ok`](Self::run_all_ok) check it.
    ///
    /// You do not have to read the responses: once the handler has answered, its jobs see that response as if it had been [read
    /// to its end](crate::Delivery::Finished), without its length. But keep the response in a variable: dropping it unread
    /// counts as a client that left, and its jobs see [`Disconnected`](crate::Delivery::Disconnected).
    ///
    /// Delays and backoffs take their time, unless you [skip them](Self::skip_waits).
    ///
    /// Jobs of a [batch](crate::BatchJob) type run in batches, and no batch waits for jobs that do not exist. On a multi-threaded
    /// runtime, it is a matter of chance which jobs join a batch before it starts. A job runs by itself while you keep a
    /// [`Recorded`](crate::testing::Recorded) of it.
    ///
    /// # Panics
    ///
    /// If a job snoozes a thousand times. The message names it.
    ///
    /// # Cancel safety
    ///
    /// If dropped, the jobs go on.
    #[track_caller]
    pub fn run_all(&self) -> impl Future<Output = ()> + Send {
        self.run(Location::caller())
    }

    async fn run(&self, asked: &'static Location<'static>) {
        for list in self.lists() {
            list.see_answer();
            list.release_now();
        }
        let (mut endless, mut idle) = (pin!(self.recording.endless()), pin!(self.runner.idle()));
        let endless = poll_fn(|cx| match endless.as_mut().poll(cx) {
            Poll::Ready(job) => Poll::Ready(Some(job)),
            Poll::Pending => idle.as_mut().poll(cx).map(|()| None),
        });
        if let Some(job) = endless.await {
            panic!("`{job}` has snoozed {MAX_SNOOZES} times, and seems to do so forever (run at {asked})");
        }
    }

    /// Runs the recorded jobs like [`run_all`](Self::run_all), and asserts that none of them failed, nor any job that they
    /// deferred: no error, panic or timeout in the last attempt, nothing shed or abandoned. A job may need several attempts. A
    /// skipped or cancelled job has not failed.
    ///
    /// # Panics
    ///
    /// If a job failed: the message lists each failed job, with its attempts and its error. Also panics like
    /// [`run_all`](Self::run_all).
    ///
    /// # Cancel safety
    ///
    /// If dropped, the jobs go on.
    ///
    /// ```
    /// # use defer_core::{JobError, JobResult, defer_fn, scope, testing::Recorder};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let recorder = Recorder::new();
    /// scope(recorder.runner(), async { defer_fn(|_| async { println!("welcome") }) }).await;
    /// recorder.run_all_ok().await;
    ///
    /// scope(recorder.runner(), async { defer_fn(|_| async { Err(JobError::msg("no such user")) }) }).await;
    /// let failed = tokio::spawn(async move { recorder.run_all_ok().await }).await;
    /// assert!(failed.unwrap_err().is_panic());
    /// # }
    /// ```
    #[track_caller]
    pub fn run_all_ok(&self) -> impl Future<Output = ()> + Send {
        let asked = Location::caller();
        async move {
            let before = lock(&self.failures).len();
            self.run(asked).await;
            let failures = lock(&self.failures)[before..].to_vec();
            if !failures.is_empty() {
                panic!("not every job succeeded (run at {asked}):{}", list_failures(&failures));
            }
        }
    }

    /// Runs one attempt of a recorded job and returns how it ended. Afterwards, the job is no longer recorded, and no other
    /// attempt follows.
    ///
    /// The job runs as it would on its `attempt`th attempt: with the runner's state and its
    /// [middleware](crate::RunnerBuilder::around), within its timeout. [`Job::failed`](crate::Job::failed) is called if the
    /// attempt fails and is the last one. If the handler has answered, the job's condition is evaluated first. The job starts
    /// immediately, regardless of its delay, and even if it is durable.
    ///
    /// The other jobs of its request stay recorded, and jobs that it defers are recorded too. In
    /// [`Runner::stats`](crate::Runner::stats), an attempt that would be followed by another counts like a job that goes back
    /// to a queue: as queued and, unless it snoozed, as retried.
    ///
    /// An attempt that would be followed by another ends with [`JobEventKind::Retrying`] or [`JobEventKind::Snoozed`]. The
    /// error tells whether it was [a panic](crate::JobError::is_panic) or [a timeout](crate::JobError::is_timeout). Other
    /// outcomes are [`Succeeded`](JobEventKind::Succeeded), [`Failed`](JobEventKind::Failed),
    /// [`Panicked`](JobEventKind::Panicked), [`TimedOut`](JobEventKind::TimedOut), [`Skipped`](JobEventKind::Skipped), and
    /// [`Abandoned`](JobEventKind::Abandoned) if the runner was shut down meanwhile.
    ///
    /// # Panics
    ///
    /// If no job with this id is recorded, and if `attempt` is 0: attempts are counted from 1.
    ///
    /// # Cancel safety
    ///
    /// If dropped, the attempt goes on.
    ///
    /// ```
    /// # use defer_core::{Deferrable, Job, JobContext, JobError, JobResult, Policy, defer, event::JobEventKind, scope};
    /// # use defer_core::testing::Recorder;
    /// struct CallPartner;
    ///
    /// impl Job for CallPartner {
    ///     async fn run(&self, cx: &JobContext) -> JobResult {
    ///         let host = if cx.attempt() == 1 { "primary" } else { "fallback" };
    ///         Err(JobError::msg(format!("{host} does not answer")))
    ///     }
    /// }
    /// # impl Deferrable for CallPartner {
    /// #     const NAME: &'static str = "CallPartner";
    /// #     const POLICY: Policy = Policy::new().with_tries(3);
    /// # }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let recorder = Recorder::new();
    /// let (first, last) = scope(recorder.runner(), async {
    ///     (defer(CallPartner).id(), defer(CallPartner).id())
    /// })
    /// .await;
    ///
    /// let ended = recorder.run_attempt(first, 1).await;
    /// let JobEventKind::Retrying { error, .. } = ended else { panic!("{ended:?}") };
    /// assert_eq!(error.to_string(), "primary does not answer");
    ///
    /// let ended = recorder.run_attempt(last, 3).await;
    /// let JobEventKind::Failed { error, .. } = ended else { panic!("{ended:?}") };
    /// assert_eq!(error.to_string(), "fallback does not answer");
    /// # }
    /// ```
    #[track_caller]
    pub fn run_attempt(&self, id: JobId, attempt: u32) -> impl Future<Output = JobEventKind> + Send {
        let asked = Location::caller();
        async move {
            let Some(earlier) = attempt.checked_sub(1) else {
                panic!("there is no attempt 0: attempts are counted from 1 (run at {asked})");
            };
            let Some(ended) = self.lists().iter().find_map(|list| run_attempt(list, id, earlier)) else {
                panic!(
                    "no job with the id {id} is recorded: it has started, or was cancelled, or another recorder has it (run at \
                     {asked}); deferred: {self:?}"
                );
            };
            // A job of a batch type runs by itself: none of the others runs.
            let _hurry = self.runner.hurry();
            // An error means that the job was stopped.
            ended.await.unwrap_or(JobEventKind::Abandoned)
        }
    }
}

/// Writes each job on a line of its own.
fn list_failures(failures: &[JobEvent]) -> String {
    let mut lines = String::new();
    for failure in failures {
        let (name, attempts) = (failure.name(), failure.attempt());
        // Writing to a string does not fail.
        let _ = match failure.kind() {
            JobEventKind::Failed { error, .. }
            | JobEventKind::Panicked { error, .. }
            | JobEventKind::TimedOut { error, .. } => {
                write!(lines, "\n- `{name}` failed, attempts: {attempts}: {error}")
            }
            JobEventKind::Shed => write!(lines, "\n- `{name}` was shed, attempts: {attempts}"),
            _ => write!(lines, "\n- `{name}` was abandoned, attempts: {attempts}"),
        };
    }
    lines
}
