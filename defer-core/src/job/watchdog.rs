//! Detects jobs that block their thread.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, Weak},
    task::{Context, Poll},
    thread,
    time::{Duration, Instant},
};

use slab::Slab;

use super::context::JobContext;
use crate::{
    model::error::JobResult,
    observe::{event::JobEventKind, hooks::Times},
    primitives::{BoxFuture, panic::drop_quietly, sync::lock},
};

/// Reports jobs whose `poll` takes too long to return. A thread of its own checks them periodically, because the runtime's
/// threads may be the blocked ones.
pub(crate) struct Watchdog {
    limit: Duration,
    polls: Mutex<Slab<Running>>,
    thread: OnceLock<()>,
}

/// A job that is being polled.
struct Running {
    cx: JobContext,
    since: Instant,
    is_reported: bool,
}

impl Watchdog {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, polls: Mutex::default(), thread: OnceLock::new() }
    }

    /// Returns the same future, watched.
    pub(crate) fn watch<'a>(
        self: &'a Arc<Self>,
        cx: &'a JobContext,
        job: BoxFuture<'a, JobResult>,
    ) -> impl Future<Output = JobResult> + Send + use<'a> {
        self.thread.get_or_init(|| start(Arc::downgrade(self), self.pause()));
        Watched { watchdog: self, cx, job }
    }

    fn enter(&self, cx: &JobContext) -> usize {
        let running = Running { cx: cx.clone(), since: Instant::now(), is_reported: false };
        lock(&self.polls).insert(running)
    }

    fn leave(&self, key: usize) {
        let left = lock(&self.polls).try_remove(key);
        // Dropped after releasing the lock, because it may have the last reference to its list.
        drop(left);
    }

    fn look(&self) {
        let mut stuck = Vec::new();
        for (key, running) in lock(&self.polls).iter_mut() {
            let elapsed = running.since.elapsed();
            if elapsed >= self.limit && !running.is_reported {
                running.is_reported = true;
                stuck.push((key, running.since, running.cx.clone(), elapsed));
            }
        }
        for (key, since, cx, elapsed) in stuck {
            // The hook of another job may have taken long.
            let is_still = lock(&self.polls).get(key).is_some_and(|running| running.since == since);
            if is_still {
                cx.list().report(cx.job(), &JobEventKind::Stuck { elapsed }, Times::default());
            }
            drop_quietly(cx);
        }
    }

    /// Returns the time between two checks, which is short compared to the limit.
    fn pause(&self) -> Duration {
        (self.limit / 4).clamp(Duration::from_millis(1), Duration::from_secs(1))
    }
}

/// Starts the thread, which ends with the watchdog.
fn start(watchdog: Weak<Watchdog>, pause: Duration) {
    let watch = move || {
        while let Some(watchdog) = watchdog.upgrade() {
            watchdog.look();
            drop(watchdog);
            thread::sleep(pause);
        }
    };
    if let Err(error) = thread::Builder::new().name("defer-watchdog".into()).spawn(watch) {
        tracing::error!(target: "defer", %error, "jobs that block their thread go unnoticed: the watchdog has no thread");
    }
}

struct Watched<'a> {
    watchdog: &'a Watchdog,
    cx: &'a JobContext,
    job: BoxFuture<'a, JobResult>,
}

impl Future for Watched<'_> {
    type Output = JobResult;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<JobResult> {
        /// Removes the job from the watched ones, even if it panics.
        struct Leave<'a>(&'a Watchdog, usize);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.leave(self.1);
            }
        }
        let _leave = Leave(self.watchdog, self.watchdog.enter(self.cx));
        self.job.as_mut().poll(cx)
    }
}
