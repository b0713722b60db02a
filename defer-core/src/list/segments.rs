//! Segments in their order.

use std::collections::VecDeque;

/// Segments in their order. The first is stored in place, so that a single one needs no deque.
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
