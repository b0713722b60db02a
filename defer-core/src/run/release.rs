//! The response is over: jobs may start.

use std::sync::Arc;

use super::{detached::Detached, push};
use crate::{
    limits::{keyed_semaphore::Key, semaphore::Semaphore},
    list::{
        lease::Parted,
        list::{JobList, Locked},
        unique::LeftOut,
    },
    model::{policy::Flags, response::ResponseInfo},
    observe::event::JobEventKind,
};

/// The jobs that leave the line in the step of the release.
#[derive(Default)]
struct Leaving {
    left_out: LeftOut,
    parted: Vec<Parted>,
    detached: Vec<Detached>,
}

impl JobList {
    /// Releases the jobs: the response is over, and they may start. Jobs that join later start as soon as their turn comes.
    /// Only the first call has an effect.
    pub fn release(self: &Arc<Self>, response: Option<ResponseInfo>) {
        #[cfg(feature = "testing")]
        if self.engine.config.is_recording {
            if let Some(response) = response {
                self.answered(|| response);
            }
            return;
        }
        if let Some(response) = response {
            self.set_response(response);
        }
        self.release_now();
    }

    /// Releases the jobs, including those that a recorder keeps. Only the first call has an effect; for a recorder, the
    /// first call with jobs.
    pub(crate) fn release_now(self: &Arc<Self>) {
        push::push_due(self);
        let now = self.now();
        let (mut starts, mut has) = (false, Flags::NONE);
        let mut leaving: Option<Leaving> = None;
        self.end_with(&JobEventKind::Shed, |locked, effects| {
            if self.engine.config.is_recording && locked.state.waiting() == 0 {
                return;
            }
            if locked.state.flags().has(Flags::LEASED.with(Flags::UNIQUE)) && !locked.state.is_released() {
                // Before they take room, or begin.
                let leaving = leaving.get_or_insert_default();
                leaving.left_out = self.leave_out_locked(locked);
                leaving.parted = self.part_locked(locked, None, effects);
            }
            let Some(is_active) = locked.state.release(self.bounds(), now, effects) else { return };
            starts = is_active;
            has = locked.state.flags();
            if has.has(Flags::SERIAL) {
                self.queue_serial(locked);
            }
            if has.has(Flags::CONCURRENT) {
                leaving.get_or_insert_default().detached = self.detach_concurrent(locked);
            }
        });
        let detached = leaving.map(|Leaving { left_out, parted, detached }| {
            self.follow_left_out(left_out);
            self.follow_parted(parted);
            detached
        });
        if has.has(Flags::UNIQUE) {
            self.claim_unique();
        }
        if let Some(detached) = detached {
            start_all(detached);
        }
        if starts && (!has.has(Flags::UNIQUE.with(Flags::CONCURRENT)) || self.lock().state.begin()) {
            Semaphore::request(self.clone());
        }
    }

    /// Queues jobs with a serial key for their turns, in their order. Those that are delayed queue once they are due and
    /// their turn in line has come. In the same step as the release: otherwise one that joins then could come before them.
    #[cold]
    fn queue_serial(&self, locked: &mut Locked) {
        for (_, entry) in locked.state.waiting_entries().filter(|(_, entry)| entry.is_due()) {
            if let Some(key) = entry.serial_key().cloned() {
                entry.keep_slot(self.engine.slots.queue_for(Key::Serial(key), 1));
            }
        }
    }

    /// Leaves out duplicates.
    #[cold]
    fn claim_unique(self: &Arc<Self>) {
        let unique = self.lock().state.unique();
        for index in unique {
            self.claim(index);
        }
    }

    /// Lets concurrent jobs leave the line. In the same step as the release: otherwise a worker could take them.
    #[cold]
    fn detach_concurrent(self: &Arc<Self>, locked: &mut Locked) -> Vec<Detached> {
        let concurrent = locked.state.concurrent();
        concurrent.into_iter().filter_map(|index| Detached::split(locked, self, index)).collect()
    }
}

#[cold]
fn start_all(detached: Vec<Detached>) {
    detached.into_iter().for_each(Detached::start);
}
