//! A job with a task of its own: it is concurrent or delayed, it queued late for its turn, or an attempt of it has failed.

use std::{pin::Pin, sync::Arc, time::Duration};

use tokio::time::Sleep;

use super::{
    attempt::own_waker,
    detour::detour,
    finish::Next,
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

    /// Runs the job in a task of its own, after this long.
    pub(super) fn start_after(mut self, delay: Duration) {
        if let Some(timer) = self.timer(delay) {
            self.spawn(Some(timer));
        }
    }

    fn spawn(self, timer: Option<Pin<Box<Sleep>>>) {
        let (list, index) = (self.list.clone(), self.index);
        let task = list.origin.runtime.spawn(InList::new(list.clone(), self.run(timer)));
        let too_late = list.lock().state.keep_task(index, task.abort_handle());
        if let Some(task) = too_late {
            task.abort();
        }
    }

    /// Returns a timer. Without one the job fails.
    fn timer(&mut self, delay: Duration) -> Option<Pin<Box<Sleep>>> {
        #[cfg(feature = "testing")]
        let delay = self.list.wait_of(self.index, delay);
        match timer(delay) {
            Ok(timer) => Some(timer),
            Err(NoTimer) => {
                drop_quietly(self.job.take());
                let event = JobEventKind::Failed { error: no_timer(), elapsed: Duration::ZERO };
                self.list.end(self.index, &event);
                None
            }
        }
    }

    async fn run(mut self, mut timer: Option<Pin<Box<Sleep>>>) {
        let list = self.list.clone();
        let own_task = own_waker().await;
        loop {
            if let Some(timer) = &mut timer {
                timer.await;
            }
            let Some(job) = &mut self.job else { return };
            let mut permit = None;
            match detour(&list, self.index, &mut **job, Some(&own_task), &mut permit, &mut self.held).await {
                Next::Done => {
                    drop_quietly(self.job.take());
                    return;
                }
                Next::Detach(delay) => {
                    drop(permit);
                    timer = None;
                    if let Some(delay) = delay {
                        timer = self.timer(delay);
                        if timer.is_none() {
                            return;
                        }
                    }
                }
            }
        }
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
