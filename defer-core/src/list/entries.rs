//! The entries of a list.

use smallvec::SmallVec;

use super::entry::{Entry, JobState};

/// The entries of a list by their index. An index is never used twice: a handle to a job that ended long ago finds
/// nothing, rather than another job.
#[derive(Default)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Entries {
    /// The index of `entries[0]`.
    base: usize,
    entries: SmallVec<[Entry; 1]>,
    /// How many entries at the front are known to have ended.
    ended: usize,
}

impl Entries {
    /// Adds an entry and returns its index.
    #[inline(always)]
    pub(super) fn push(&mut self, entry: Entry) -> usize {
        let len = self.entries.len();
        if len == self.entries.capacity() {
            self.grow();
        }
        self.entries.push(entry);
        self.base + len
    }

    /// Grows faster than by doubling from one, so that a request with ten jobs allocates once for them.
    #[cold]
    fn grow(&mut self) {
        self.entries.reserve(self.entries.len().max(3) * 3);
    }

    #[inline(always)]
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Entry> {
        self.entries.get_mut(index.checked_sub(self.base)?)
    }

    /// Iterates over the jobs that have not ended, with their indices.
    pub(super) fn open(&mut self) -> impl Iterator<Item = (usize, &mut Entry)> {
        let base = self.base;
        let entries = self.entries[self.ended..].iter_mut().zip(base + self.ended..);
        entries.filter(|(entry, _)| entry.state != JobState::Ended).map(|(entry, index)| (index, entry))
    }

    /// Removes ended entries. `open` is how many have not ended. Bounds the memory of jobs that keep deferring jobs.
    #[inline(always)]
    pub(super) fn forget_ended(&mut self, open: usize) {
        if open == 0 {
            self.base += self.entries.len();
            self.entries.clear();
            self.ended = 0;
        } else if self.entries.len() >= 64 && self.entries.len() >= open * 2 {
            self.drain_ended();
        }
    }

    /// Removes the ended entries at the front, if they outnumber the rest, which has to be moved.
    #[cold]
    fn drain_ended(&mut self) {
        let behind = self.entries[self.ended..].iter();
        self.ended += behind.take_while(|entry| entry.state == JobState::Ended).count();
        if self.ended * 2 >= self.entries.len() {
            self.entries.drain(..self.ended);
            self.base += self.ended;
            self.ended = 0;
        }
    }
}
