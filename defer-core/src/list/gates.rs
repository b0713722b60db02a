//! What a job passes before it starts: its condition, its turn among those with its key, and its turn among those of its type.

use std::{
    future::poll_fn,
    sync::{Arc, Weak},
    task::Poll,
    time::Duration,
};

use super::{
    effects::{Gate, Start},
    entry::{Condition, NextLane},
    list::JobList,
};
use crate::{
    context::Surroundings,
    error::caught,
    event::JobEventKind,
    id::JobId,
    policy::Gates,
    runner::{jobs::Jobs, lanes::Place},
};

impl JobList {
    /// Asks a job's condition and takes its places. Starts an attempt if it is its turn.
    #[cold]
    pub(super) fn start_gated(&self, index: usize) -> Start {
        loop {
            let gate = self.lock().next_gate(index);
            match gate {
                Gate::Open => return self.transition(|state| state.start_open(index)),
                Gate::Delay(start) => return start,
                Gate::Ask(condition) => match self.check(condition) {
                    Ok(()) => self.lock().pass(index),
                    Err(event) => {
                        self.end(index, &event);
                        return Start::Gone;
                    }
                },
                Gate::Lane(NextLane::Enter(key, at_once)) => {
                    let place = self.runner().lanes().enter(key, at_once);
                    self.keep_place(index, place);
                }
                Gate::Lane(NextLane::Wait) => return Start::Wait,
            }
        }
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
        let Some(mut place) = self.lock().waiting_place(index) else { return };
        poll_fn(|cx| {
            // Cloned before the lock, and dropped after it.
            let waker = cx.waker().clone();
            let (waits, _replaced) = self.lock().poll_turn(index, waker);
            if waits { place.poll_turn(cx) } else { Poll::Ready(()) }
        })
        .await;
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

    /// Sets the key of the lane that a job waits in.
    pub(crate) fn set_serial(&self, index: usize, key: &str) {
        let key: Arc<str> = key.into();
        let mut state = self.lock();
        let is_released = state.is_released();
        let Some(entry) = state.waiting_entry(index) else { return };
        let is_set = entry.set_serial(key, is_released);
        state.note(Gates::SERIAL);
        drop(state);
        if is_released && is_set {
            self.take_places(&[index]);
        }
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

    /// The response is over: leaves out jobs that are superfluous, and takes places for the others.
    pub(super) fn begin_turns(self: &Arc<Self>) {
        let waiting: Vec<usize> = self.lock().waiting_entries().map(|(index, _)| index).collect();
        for index in &waiting {
            self.claim(*index);
        }
        self.take_places(&waiting);
    }

    /// Makes a job the one that others with its key are left out for, or leaves it out for another. Returns whether it is left
    /// out.
    fn claim(self: &Arc<Self>, index: usize) -> bool {
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

    /// Takes a place for each of these jobs in the lane of its key, in this order. Those that are delayed take theirs when they
    /// are due.
    fn take_places(&self, indices: &[usize]) {
        for index in indices {
            let key = {
                let mut state = self.lock();
                let entry = state.waiting_entry(*index).filter(|entry| !entry.has_delay());
                entry.and_then(|entry| entry.next_serial())
            };
            if let Some(key) = key {
                let place = self.runner().lanes().enter(key, 1);
                self.keep_place(*index, place);
            }
        }
    }
}
