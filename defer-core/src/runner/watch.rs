//! Follows a job from outside.

use std::{
    future::{Future, pending, poll_fn},
    pin::{Pin, pin},
    sync::Once,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use tokio::time::Instant;

use super::runner::Runner;
use crate::{
    model::{id::JobId, status::JobStatus},
    observe::outcomes::Watched,
    primitives::{BoxFuture, timer::timer},
};

/// The time between two questions to the queue about a job.
const ASKS_EVERY: Duration = Duration::from_secs(1);

impl Runner {
    /// Returns a stream of the job's status: first the current status, then each change, up to a final status. The stream is
    /// empty if neither this runner nor the queue knows the job.
    ///
    /// A slow reader gets the latest status, and nothing piles up. The last progress always arrives before the end, even if the
    /// job reports it right before; for a job in another process it may be missed. Changes of jobs in this process wake the
    /// reader. For a job that is in another process or waits on the queue, the queue is asked once a second. The stream of a
    /// job that was dropped by [`unique`](crate::Deferred::unique) follows the job that runs in its place.
    ///
    /// The runner has to [keep outcomes](crate::RunnerBuilder::keep_outcomes). Otherwise only the queue is asked, which does
    /// not know jobs in memory. If the job went to a queue that cannot be [inspected](crate::queue::InspectQueue), or that no
    /// longer knows it, [`Queued`](JobStatus::Queued) is the last status. While the queue cannot be reached, the stream waits.
    ///
    /// The stream ends with the job, not with the runner: end it yourself at
    /// [`shutdown_announced`](Self::shutdown_announced), as `defer_axum::watch_sse` does.
    ///
    /// ```
    /// use defer_core::{JobStatus, Runner, defer_fn, scope};
    /// # use std::{future::poll_fn, pin::pin};
    /// # use futures_core::Stream;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let runner = Runner::builder().keep_outcomes(10_000).build();
    /// let id = scope(&runner, async {
    ///     defer_fn(|cx| async move {
    ///         cx.set_progress(50)?;
    ///         tokio::task::yield_now().await; // ..
    ///         Ok(())
    ///     })
    ///     .id()
    /// })
    /// .await;
    /// let mut statuses = pin!(runner.watch(id));
    /// let mut last = None;
    /// // `while let Some(status) = statuses.next().await`, with a crate that has `StreamExt`.
    /// while let Some(status) = poll_fn(|cx| statuses.as_mut().poll_next(cx)).await {
    ///     println!("{status:?}");
    ///     last = Some(status);
    /// }
    /// assert_eq!(last, Some(JobStatus::Succeeded));
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads, and may be dropped at any time. Poll it on a Tokio runtime with a timer. Without one, it
    /// ends where it would have to ask the queue again.
    pub fn watch(&self, id: JobId) -> impl Stream<Item = JobStatus> + Send + 'static + use<> {
        if self.engine.outcomes().is_none() {
            warn_once();
        }
        let follower = Follower::new(self.clone(), id);
        Watch { next: Some(Box::pin(follower.next())) }
    }
}

/// Warns once that nothing is known about jobs in memory although a caller asks about them.
#[cold]
fn warn_once() {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        tracing::warn!(
            target: "defer",
            "a job is watched on a runner that keeps no outcomes, which knows no job that runs in memory: use \
             `RunnerBuilder::keep_outcomes`"
        );
    });
}

/// The stream.
struct Watch {
    /// `None` once it has ended.
    next: Option<BoxFuture<'static, Option<(JobStatus, Follower)>>>,
}

impl Stream for Watch {
    type Item = JobStatus;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<JobStatus>> {
        let Some(next) = &mut self.next else { return Poll::Ready(None) };
        let next = ready!(next.as_mut().poll(cx));
        self.next = None;
        let Some((status, follower)) = next else { return Poll::Ready(None) };
        self.next = Some(Box::pin(follower.next()));
        Poll::Ready(Some(status))
    }
}

/// Follows a job.
struct Follower {
    runner: Runner,
    id: JobId,
    /// The status in this process, if the runner keeps it.
    watched: Option<Watched>,
    /// When the queue was last asked.
    asked: Option<Instant>,
    /// The last status that was returned.
    last: Option<JobStatus>,
    /// The status of a duplicate, which is returned if nothing is known about the other job.
    duplicate: Option<JobStatus>,
    hops: Hops,
    /// No further status will be known.
    is_over: bool,
}

/// Counts the duplicates followed so far. There may be any number, but a queue might lead in circles.
struct Hops {
    count: u32,
    /// The job at which the count last was a power of two. Following a circle reaches it again.
    seen: JobId,
}

impl Hops {
    /// Counts a step to another job. Returns whether it is part of a circle.
    fn is_circle(&mut self, to: JobId) -> bool {
        if to == self.seen {
            return true;
        }
        self.count = self.count.wrapping_add(1);
        if self.count.is_power_of_two() {
            self.seen = to;
        }
        false
    }
}

impl Follower {
    fn new(runner: Runner, id: JobId) -> Self {
        let mut follower = Self {
            runner,
            id,
            watched: None,
            asked: None,
            last: None,
            duplicate: None,
            hops: Hops { count: 0, seen: id },
            is_over: false,
        };
        follower.follow(id);
        follower
    }

    /// Follows this job from now on.
    fn follow(&mut self, id: JobId) {
        self.id = id;
        self.asked = None;
        self.watched = self.runner.engine.outcomes().map(|outcomes| outcomes.watch(id));
    }

    /// Waits for the next status.
    async fn next(mut self) -> Option<(JobStatus, Self)> {
        while !self.is_over {
            let here = self.watched.as_mut().and_then(Watched::status);
            let status = match here {
                Some(status) if status != JobStatus::Queued => {
                    if self.last.as_ref() == Some(&status) {
                        self.changed().await;
                        continue;
                    }
                    Some(status)
                }
                here => {
                    if !self.may_ask().await {
                        continue;
                    }
                    self.ask().await.or(here)
                }
            };
            let status = match status {
                Some(JobStatus::Duplicate { of }) if !self.hops.is_circle(of) => {
                    self.duplicate = Some(JobStatus::Duplicate { of });
                    self.follow(of);
                    continue;
                }
                None if self.is_over => self.duplicate.take(),
                status => status,
            };
            self.is_over |= status.as_ref().is_some_and(JobStatus::is_final);
            if status.is_some() && status != self.last {
                self.last.clone_from(&status);
                return status.map(|status| (status, self));
            }
        }
        None
    }

    /// Waits until the status in this process changes.
    async fn changed(&mut self) {
        match &mut self.watched {
            Some(watched) => watched.changed().await,
            None => pending().await,
        }
    }

    /// Waits until the queue may be asked again. Returns false if the status in this process changes first, or if the queue can
    /// never be asked.
    async fn may_ask(&mut self) -> bool {
        let Some(asked) = self.asked else { return true };
        let Ok(mut wait) = timer(ASKS_EVERY.saturating_sub(asked.elapsed())) else {
            self.is_over = true;
            return false;
        };
        let mut changed = pin!(self.changed());
        poll_fn(|cx| {
            if changed.as_mut().poll(cx).is_ready() {
                return Poll::Ready(false);
            }
            wait.as_mut().poll(cx).map(|()| true)
        })
        .await
    }

    /// Asks the queue. The stream is over if the queue does not know the job.
    async fn ask(&mut self) -> Option<JobStatus> {
        self.asked = Some(Instant::now());
        let Some(queue) = self.runner.queue().and_then(|queue| queue.inspect()) else {
            self.is_over = true;
            return None;
        };
        // An error is an outage, which may pass.
        let status = queue.status(self.id).await.ok()?;
        self.is_over = status.is_none();
        status
    }
}
