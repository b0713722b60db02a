//! Jobs of one type that were deferred one after another, side by side in one allocation.
//!
//! One future runs a whole segment, which is what makes ten jobs cheaper than ten tasks.

use std::{any::Any, collections::VecDeque, ops::Range};

#[cfg(feature = "testing")]
use crate::attempt::SharedJob;
use crate::{attempt::Work, panic::drop_quietly};

/// Jobs of type `W`. The first is stored in place, so that a single one needs no vector.
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Segment<W> {
    start: usize,
    first: Option<W>,
    rest: Vec<Option<W>>,
}

/// A segment with its job type erased.
pub(crate) trait Slots: Send {
    /// Takes a job out, for the caller to drop.
    fn take(&mut self, index: usize) -> Option<Box<dyn Send>>;

    /// Returns a job, if it is shared.
    #[cfg(feature = "testing")]
    fn job(&self, index: usize) -> Option<SharedJob>;

    /// Returns the segment itself, so that another job of its type can join.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

impl<T: Slots + ?Sized> Slots for Box<T> {
    fn take(&mut self, index: usize) -> Option<Box<dyn Send>> {
        (**self).take(index)
    }

    #[cfg(feature = "testing")]
    fn job(&self, index: usize) -> Option<SharedJob> {
        (**self).job(index)
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        (**self).as_any_mut()
    }
}

impl<W: Work> Segment<W> {
    /// Appends a job to the last segment if that is one of its type, or else returns a new segment.
    pub(super) fn append<S: Slots>(last: Option<&mut S>, index: usize, work: W) -> Option<Self> {
        let Some(segment) = last.and_then(|last| last.as_any_mut().downcast_mut::<Self>()) else {
            return Some(Self::of(index, work));
        };
        if segment.rest.len() == segment.rest.capacity() {
            segment.rest.reserve((segment.rest.len() + 1).max(3) * 3);
        }
        segment.rest.push(Some(work));
        None
    }

    /// Takes a job out.
    pub(crate) fn take_work(&mut self, index: usize) -> Option<W> {
        self.slot(index)?.take()
    }

    /// Creates a segment of one job.
    pub(crate) fn of(index: usize, work: W) -> Self {
        Self { start: index, first: Some(work), rest: Vec::new() }
    }

    /// Returns the indices of its jobs, including those that were taken out.
    pub(crate) fn indices(&self) -> Range<usize> {
        self.start..self.start + 1 + self.rest.len()
    }

    pub(crate) fn slot(&mut self, index: usize) -> Option<&mut Option<W>> {
        match index.checked_sub(self.start)? {
            0 => Some(&mut self.first),
            n => self.rest.get_mut(n - 1),
        }
    }
}

impl<W: Work> Slots for Segment<W> {
    fn take(&mut self, index: usize) -> Option<Box<dyn Send>> {
        Some(Box::new(self.take_work(index)?))
    }

    #[cfg(feature = "testing")]
    fn job(&self, index: usize) -> Option<SharedJob> {
        let work = match index.checked_sub(self.start)? {
            0 => self.first.as_ref(),
            n => self.rest.get(n - 1)?.as_ref(),
        };
        work?.job()
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl<W> Drop for Segment<W> {
    /// Drops the jobs one by one: two that panic in one drop would abort the process.
    fn drop(&mut self) {
        drop_quietly(self.first.take());
        self.rest.drain(..).for_each(drop_quietly);
    }
}

/// Segments in their order. The first is stored in place, so that a single one needs no deque.
#[cfg_attr(test, derive(Clone))]
pub(super) struct Segments<S> {
    first: Option<S>,
    rest: VecDeque<S>,
}

impl<S> Segments<S> {
    pub(super) fn push(&mut self, segment: S) {
        if self.first.is_none() && self.rest.is_empty() {
            self.first = Some(segment);
        } else {
            self.rest.push_back(segment);
        }
    }

    pub(super) fn last_mut(&mut self) -> Option<&mut S> {
        self.rest.back_mut().or(self.first.as_mut())
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut S> {
        self.first.iter_mut().chain(&mut self.rest)
    }

    pub(super) fn take_next(&mut self) -> Option<S> {
        self.first.take().or_else(|| self.rest.pop_front())
    }

    pub(super) fn take_all(&mut self) -> Vec<S> {
        self.first.take().into_iter().chain(self.rest.drain(..)).collect()
    }
}

impl<S> Default for Segments<S> {
    fn default() -> Self {
        Self { first: None, rest: VecDeque::new() }
    }
}
