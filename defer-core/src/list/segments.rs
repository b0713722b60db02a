//! Segments in their order.

use std::collections::VecDeque;

/// Segments in their order. The first is stored in place, so that a single one needs no deque.
pub(super) struct Segments<S> {
    first: Option<S>,
    #[allow(clippy::box_collection, reason = "most lists have none, and a deque is four times as large")]
    rest: Option<Box<VecDeque<S>>>,
}

impl<S> Segments<S> {
    pub(super) fn push(&mut self, segment: S) {
        if self.last_mut().is_none() {
            self.first = Some(segment);
        } else {
            self.push_behind(segment);
        }
    }

    #[cold]
    fn push_behind(&mut self, segment: S) {
        self.rest.get_or_insert_default().push_back(segment);
    }

    pub(super) fn last_mut(&mut self) -> Option<&mut S> {
        match &mut self.rest {
            None => self.first.as_mut(),
            Some(rest) => rest.back_mut().or(self.first.as_mut()),
        }
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut S> {
        self.first.iter_mut().chain(self.rest.iter_mut().flat_map(|rest| rest.iter_mut()))
    }

    pub(super) fn take_next(&mut self) -> Option<S> {
        self.first.take().or_else(|| self.rest.as_mut()?.pop_front())
    }

    pub(super) fn take_all(&mut self) -> Vec<S> {
        let rest = self.rest.take().map(|rest| *rest).unwrap_or_default();
        self.first.take().into_iter().chain(rest).collect()
    }
}

impl<S> Default for Segments<S> {
    fn default() -> Self {
        Self { first: None, rest: None }
    }
}
