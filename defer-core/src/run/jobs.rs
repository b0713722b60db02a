//! Jobs of one type, side by side in one allocation, so that ten jobs of a request cost few allocations and one task.

use std::{future::Future, mem, ops::Range};

use crate::{
    job::{context::JobContext, work::Work},
    model::error::JobResult,
    primitives::panic::quietly,
};

/// Jobs of type `W`. The first is stored in place, so that a single one needs no vector.
pub(super) struct Jobs<W: Work> {
    start: usize,
    first: Option<W>,
    rest: Vec<Option<W>>,
}

impl<W: Work> Jobs<W> {
    pub(super) fn of(index: usize, work: W) -> Self {
        Self { start: index, first: Some(work), rest: Vec::new() }
    }

    pub(super) fn push(&mut self, work: W) {
        if self.rest.len() == self.rest.capacity() {
            self.grow();
        }
        self.rest.push(Some(work));
    }

    /// Grows faster than by doubling from one, so that a request with ten jobs allocates once for them.
    #[cold]
    fn grow(&mut self) {
        self.rest.reserve((self.rest.len() + 1).max(3) * 3);
    }

    #[inline]
    pub(super) fn slot(&mut self, index: usize) -> Option<&mut Option<W>> {
        match index.checked_sub(self.start)? {
            0 => Some(&mut self.first),
            n => self.rest.get_mut(n - 1),
        }
    }

    /// Returns whether a job is here: it was not taken out, and not dropped.
    #[inline]
    pub(super) fn has(&self, index: usize) -> bool {
        match index.checked_sub(self.start) {
            Some(0) => self.first.is_some(),
            Some(n) => self.rest.get(n - 1).is_some_and(Option::is_some),
            None => false,
        }
    }

    /// Returns a job that has not ended.
    #[inline]
    pub(super) fn present(&mut self, index: usize) -> &mut W {
        self.get(index).expect("a job is there until it has ended")
    }

    #[inline]
    fn get(&mut self, index: usize) -> Option<&mut W> {
        self.slot(index)?.as_mut()
    }

    /// Returns an attempt of a job, which does nothing until it is polled.
    #[inline]
    pub(super) fn attempt<'a>(
        &'a mut self,
        index: usize,
        cx: &'a JobContext,
    ) -> impl Future<Output = JobResult> + Send + use<'a, W> {
        let work = self.present(index);
        async move { work.run(cx).await }
    }

    /// Drops one job, quietly.
    #[inline]
    pub(super) fn clear(&mut self, index: usize) {
        let Some(slot) = self.slot(index) else { return };
        if const { mem::needs_drop::<W>() } {
            quietly(&mut || *slot = None);
        } else {
            *slot = None;
        }
    }

    #[cfg(feature = "testing")]
    pub(super) fn peek(&self, index: usize) -> Option<&W> {
        match index.checked_sub(self.start)? {
            0 => self.first.as_ref(),
            n => self.rest.get(n - 1)?.as_ref(),
        }
    }

    /// Returns the indices of the jobs, including those that were taken out.
    #[inline]
    pub(super) fn range(&self) -> Range<usize> {
        self.start..self.start + 1 + self.rest.len()
    }
}

impl<W: Work> Drop for Jobs<W> {
    /// Drops the jobs one by one: two that panic in one drop would abort the process.
    fn drop(&mut self) {
        if self.first.is_some() || self.rest.iter().any(Option::is_some) {
            self.range().for_each(|index| self.clear(index));
        }
    }
}
