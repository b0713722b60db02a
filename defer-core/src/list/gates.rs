//! What a job passes before it starts: its condition, its turn among those with its key, and its turn among those of its type.

use std::{
    future::poll_fn,
    sync::{Arc, Weak},
    task::Poll,
    time::Duration,
};

use super::{
    effects::Start,
    entry::{Condition, Gate},
    list::JobList,
};
use crate::{
    context::Surroundings,
    error::caught,
    event::JobEventKind,
    id::JobId,
    policy::Gates,
    runner::{
        jobs::Jobs,
        lanes::{Key, Place},
    },
};

impl JobList {
    /// Asks a job's condition and takes its places. Starts an attempt if it is its turn.
    #[cold]
    pub(super) fn start_gated(&self, index: usize) -> Start {
        loop {
            let gate = match self.transition(|state| state.start_passed(index)) {
                Ok(start) => return start,
                Err(gate) => gate,
            };
            match self.pass(index, gate) {
                Passed::On => {}
                Passed::Waits => return Start::Wait,
                // Only those that had a place when the response was over may hold up their line: a later one may have to
                // wait for a job that is behind it there.
                Passed::Late => return self.transition(|state| state.leave_late(index)),
            }
        }
    }

    /// Returns whether a job with a task of its own has to wait for its turn. Asks its condition before.
    pub(crate) fn waits_for_turn(&self, index: usize) -> bool {
        loop {
            let gate = self.lock().next_gate(index);
            let Some(gate) = gate else { return false };
            if let Passed::Waits | Passed::Late = self.pass(index, gate) {
                return true;
            }
        }
    }

    /// Passes a gate: asks the condition, which may end the job, or takes a place in the lane.
    fn pass(&self, index: usize, gate: Gate) -> Passed {
        match gate {
            Gate::Ask(condition) => match self.check(condition) {
                Ok(()) => self.lock().pass(index),
                Err(event) => drop(self.end(index, &event)),
            },
            Gate::Enter(key, at_once) => {
                let is_serial = matches!(key, Key::Serial(_));
                let place = self.runner().lanes().enter(key, at_once);
                let waits = !place.has_turn();
                self.keep_place(index, place);
                if is_serial && waits {
                    return Passed::Late;
                }
            }
            Gate::Wait => return Passed::Waits,
        }
        Passed::On
    }

    /// Asks a job's condition. Without a response there is nothing to ask about, and the job runs.
    pub(super) fn check(&self, condition: Condition) -> Result<(), JobEventKind> {
        let Some(response) = self.response() else { return Ok(()) };
        let runs = match condition {
            Condition::None => return Ok(()),
            Condition::Success => response.is_success(),
            Condition::When(when) => caught(|| when(response))
                .map_err(|error| JobEventKind::Panicked { error, elapsed: Duration::ZERO })?,
        };
        if runs { Ok(()) } else { Err(JobEventKind::Skipped) }
    }

    /// Waits until a job has its turn in the lane in which it waits, or has ended.
    ///
    /// If this is dropped the place is given up, and with it the job: only whoever runs it calls this.
    pub(crate) async fn wait_for_turn(&self, index: usize) {
        /// Forgets the waker, which would keep the task.
        struct Forget<'a>(&'a JobList, usize);
        impl Drop for Forget<'_> {
            fn drop(&mut self) {
                let waker = self.0.lock().forget_turn(self.1);
                drop(waker);
            }
        }
        let Some(mut place) = self.lock().waiting_place(index) else { return };
        let forget = Forget(self, index);
        poll_fn(|cx| {
            // Cloned before the lock, and dropped after it.
            let waker = cx.waker().clone();
            let (waits, _replaced) = self.lock().poll_turn(index, waker);
            if waits { place.poll_turn(cx) } else { Poll::Ready(()) }
        })
        .await;
        drop(forget);
        self.keep_place(index, place);
    }

    /// Lets another job of its type run, while this one is between two attempts.
    #[cold]
    pub(super) fn leave_limit(&self, index: usize) {
        let place = self.lock().open_entry(index).and_then(|entry| entry.take_limit());
        drop(place);
    }

    fn keep_place(&self, index: usize, place: Place) {
        // Neither may be dropped under the lock: the next in the lane is woken.
        let unused = match self.lock().open_entry(index) {
            Some(entry) => entry.keep_place(place),
            None => Some(place),
        };
        drop(unused);
    }

    /// Sets the key of the lane that a job has to pass. When its response is over it takes its place there; if that has
    /// happened, when its turn comes in its line.
    pub(crate) fn set_serial(&self, index: usize, key: &str) {
        let key: Arc<str> = key.into();
        let mut state = self.lock();
        let is_released = state.is_released();
        let Some(entry) = state.waiting_entry(index) else { return };
        let replaced = entry.set_serial(key, is_released);
        state.note(Gates::SERIAL);
        drop(state);
        drop(replaced);
    }

    /// Leaves a job out if another with this key waits already; otherwise sees to it when its response is over. Returns
    /// whether it was left out.
    pub(crate) fn set_unique(self: &Arc<Self>, index: usize, id: JobId, key: &str) -> bool {
        let is_released = {
            let mut state = self.lock();
            let Some(entry) = state.waiting_entry(index) else { return false };
            entry.set_unique(key.into());
            state.note(Gates::UNIQUE);
            state.is_released()
        };
        if is_released {
            self.claim(index)
        } else {
            self.runner().uniques().is_superfluous(key, id) && self.cancel(index)
        }
    }

    /// The response is over: leaves out the jobs that are superfluous.
    pub(super) fn begin_unique(self: &Arc<Self>) {
        let unique: Vec<usize> = {
            let mut state = self.lock();
            let unique = state.waiting_entries().filter(|(_, entry)| entry.unique_key().is_some());
            unique.map(|(index, _)| index).collect()
        };
        for index in unique {
            self.claim(index);
        }
    }

    /// Makes a job the one that others with its key are left out for, or leaves it out for another. Returns whether it is left
    /// out.
    pub(super) fn claim(self: &Arc<Self>, index: usize) -> bool {
        let claimed = {
            let mut state = self.lock();
            let entry = state.waiting_entry(index);
            entry.and_then(|entry| Some((entry.unique_key()?.clone(), entry.id)))
        };
        let Some((key, id)) = claimed else { return false };
        let list: Weak<dyn Jobs> = Arc::downgrade(&(self.clone() as Arc<dyn Jobs>));
        let Some(claim) = self.runner().uniques().claim(key, id, list, index) else {
            return self.cancel(index);
        };
        let unused = match self.lock().waiting_entry(index) {
            Some(entry) => entry.keep_claim(claim),
            None => Some(claim),
        };
        drop(unused);
        false
    }
}

/// What came of a gate.
enum Passed {
    /// Look at the next.
    On,
    /// The job has to wait in a lane.
    Waits,
    /// The job has to wait in a lane that it has entered only now.
    Late,
}
