//! A job with a task of its own: it is concurrent or delayed, it queued late for its turn, or an attempt of it has failed.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::time::Sleep;

use super::{
    attempt::own_waker,
    detour::detour,
    finish::{Next, Wait},
    held::{Held, Room},
    start::no_timer,
};
use crate::{
    list::{
        current::InList,
        list::{JobList, Locked, Segment},
    },
    observe::event::JobEventKind,
    primitives::{
        panic::drop_quietly,
        timer::{NoTimer, timer},
    },
};

/// A job that runs in a task of its own.
pub(super) struct Detached {
    list: Arc<JobList>,
    index: usize,
    job: Option<Box<dyn Segment>>,
    held: Held,
}

impl Detached {
    pub(super) fn new(list: &Arc<JobList>, index: usize, job: Box<dyn Segment>, held: Held) -> Self {
        Self { list: list.clone(), index, job: Some(job), held }
    }

    /// Takes a job out of its line, which no worker has taken. [Start](Self::start) it after unlocking.
    pub(super) fn split(locked: &mut Locked, list: &Arc<JobList>, index: usize) -> Option<Self> {
        let job = locked.take_job(index)?;
        Self::of(locked, list, index, job)
    }

    /// Lets a job leave its line that has not started. [Start](Self::start) it after unlocking.
    pub(super) fn of(
        locked: &mut Locked,
        list: &Arc<JobList>,
        index: usize,
        job: Box<dyn Segment>,
    ) -> Option<Self> {
        let room = locked.state.detach(index)?;
        Some(Self::new(list, index, job, Held { room: Room::take_over(list, room), ..Held::default() }))
    }

    /// Runs the job in a task of its own.
    pub(super) fn start(self) {
        self.spawn(None);
    }

    /// Runs the job in a task of its own, once it has waited.
    pub(super) fn start_after(mut self, wait: Wait) {
        if let Some(delay) = self.delay(wait) {
            self.spawn(delay);
        }
    }

    fn spawn(self, delay: Option<Delay>) {
        let (list, index) = (self.list.clone(), self.index);
        let task = list.origin.runtime.spawn(InList::new(list.clone(), self.run(delay)));
        let too_late = list.lock().state.keep_task(index, task.abort_handle());
        if let Some(task) = too_late {
            task.abort();
        }
    }

    /// Returns what the job waits for, if it waits. `None` without a timer: it fails.
    fn delay(&mut self, wait: Wait) -> Option<Option<Delay>> {
        let (duration, ends_at_shutdown) = match wait {
            Wait::No => return Some(None),
            Wait::For(duration) => (duration, false),
            Wait::ForUnlessShutdown(duration) => (duration, true),
        };
        #[cfg(feature = "testing")]
        let duration = self.list.wait_of(self.index, duration);
        match timer(duration) {
            Ok(timer) => Some(Some(Delay { timer, ends_at_shutdown })),
            Err(NoTimer) => {
                drop_quietly(self.job.take());
                let event = JobEventKind::Failed { error: no_timer(), elapsed: Duration::ZERO };
                self.list.end(self.index, &event);
                None
            }
        }
    }

    async fn run(mut self, mut delay: Option<Delay>) {
        let list = self.list.clone();
        let own_task = own_waker().await;
        loop {
            if let Some(delay) = delay.take() {
                delay.elapse(&list).await;
            }
            let Some(job) = &mut self.job else { return };
            let mut permit = None;
            match detour(&list, self.index, &mut **job, Some(&own_task), &mut permit, &mut self.held).await {
                Next::Done => {
                    drop_quietly(self.job.take());
                    return;
                }
                Next::Detach(wait) => {
                    drop(permit);
                    match self.delay(wait) {
                        Some(next) => delay = next,
                        None => return,
                    }
                }
            }
        }
    }
}

/// The delay that a job waits for.
struct Delay {
    timer: Pin<Box<Sleep>>,
    /// Or for a shutdown to begin, if that is before.
    ends_at_shutdown: bool,
}

impl Delay {
    async fn elapse(mut self, list: &JobList) {
        if !self.ends_at_shutdown {
            return self.timer.await;
        }
        let mut shutdown = pin!(list.engine.shutdown.begun());
        poll_fn(|cx| match self.timer.as_mut().poll(cx) {
            Poll::Pending => shutdown.as_mut().poll(cx),
            elapsed => elapsed,
        })
        .await;
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        self.held.room = None;
        if let Some(job) = self.job.take() {
            drop_quietly(job);
            self.list.end(self.index, &JobEventKind::Abandoned);
        }
    }
}
