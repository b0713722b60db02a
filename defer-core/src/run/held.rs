//! The slots that a job holds in its runner's limits, besides its permit.

use std::sync::Arc;

use crate::{limits::keyed_semaphore::Slot, list::list::JobList};

/// The slots that a job has taken. Returned when this is dropped.
#[derive(Default)]
pub(super) struct Held {
    /// Its turn among those with its serial key, from one attempt to the next.
    pub(super) serial: Option<Slot>,
    /// Its turn among those of its type, for one attempt: between two, another job of the type may run.
    pub(super) limited: Option<Slot>,
    /// Its room among those that wait.
    pub(super) room: Option<Room>,
}

/// Room for one job. Given back when it is dropped.
pub(super) struct Room {
    list: Arc<JobList>,
}

impl Held {
    /// Returns its turns, for a thread that may run the job for longer than the job is waited for.
    pub(super) fn turns(&self) -> Vec<Slot> {
        [&self.serial, &self.limited].into_iter().flatten().filter_map(Slot::shared).collect()
    }
}

impl Room {
    /// Takes room for one job, whether there is any or not.
    pub(super) fn take(list: &Arc<JobList>) -> Self {
        list.engine.capacity.take(1);
        Self { list: list.clone() }
    }

    /// Takes over room that was taken for at most one job.
    pub(super) fn take_over(list: &Arc<JobList>, jobs: usize) -> Option<Self> {
        (jobs > 0).then(|| Self { list: list.clone() })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.list.give_back_room(1);
    }
}
