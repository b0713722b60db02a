//! The jobs of one request, in the order deferred, and how far each has come.
//!
//! A [`Collector`] is plain data: it knows nothing of locks, tasks or who runs the jobs. The jobs themselves are
//! kept in *lines*, of which it knows only that they are in the same order as the entries.

use std::collections::VecDeque;

use smallvec::SmallVec;
use tokio::task::AbortHandle;

use crate::{
    exchange::ResponseInfo,
    job::JobId,
    policy::{On, Policy},
};

pub(crate) struct Collector<L> {
    /// The index of `entries[0]`. Indices are never used twice, so that a handle to a job that is long gone finds
    /// nothing rather than another job.
    base: usize,
    entries: SmallVec<[Entry; 1]>,
    /// The lines that nobody has taken: the first, which needs no list, and those behind it.
    first: Option<L>,
    rest: VecDeque<L>,
    /// How many entries at the front have ended.
    ended: usize,
    /// How many entries have not ended.
    open: usize,
    /// How many entries have not started.
    waiting: usize,
}

/// What is known of one job beside the job itself.
pub(crate) struct Entry {
    pub(crate) id: JobId,
    pub(crate) name: &'static str,
    pub(crate) policy: &'static Policy,
    pub(crate) attempts: u32,
    step: Step,
    on: On,
    /// What few jobs have.
    extras: Option<Box<Extras>>,
}

/// It holds code of the user's, and so it is not to be dropped under a lock.
#[derive(Default)]
pub(crate) struct Extras {
    when: Option<Predicate>,
    key: Option<Box<str>>,
    payload: Option<Vec<u8>>,
    retry: Option<AbortHandle>,
}

/// A user's condition for a job to run.
pub(crate) type Predicate = Box<dyn FnOnce(&ResponseInfo) -> bool + Send>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Not started.
    Waiting,
    /// In an attempt.
    Running,
    /// Between two attempts.
    Backoff,
    /// Stopped at the end of a shutdown, and perhaps being pushed to the queue: nobody runs it, and only who stopped it
    /// ends it.
    Leaving,
    /// In its final count.
    Ended,
}

/// What is to be asked before a job may start.
pub(crate) enum Condition {
    None,
    Success,
    When(Predicate),
}

impl Entry {
    pub(crate) fn new(id: JobId, name: &'static str, policy: &'static Policy) -> Self {
        Self { id, name, policy, attempts: 0, step: Step::Waiting, on: policy.on(), extras: None }
    }

    pub(crate) fn step(&self) -> Step {
        self.step
    }

    /// Returns the predicate that this replaces.
    pub(crate) fn set_on(&mut self, on: On) -> Option<Predicate> {
        self.on = on;
        self.extras.as_mut()?.when.take()
    }

    /// Returns the predicate that this replaces.
    pub(crate) fn set_when(&mut self, when: Predicate) -> Option<Predicate> {
        self.extras().when.replace(when)
    }

    pub(crate) fn set_key(&mut self, key: &str) {
        self.extras().key = Some(key.into());
    }

    pub(crate) fn has_key(&self, key: &str) -> bool {
        self.extras.as_ref().is_some_and(|extras| extras.key.as_deref() == Some(key))
    }

    pub(crate) fn take_condition(&mut self) -> Condition {
        let when = self.extras.as_mut().and_then(|extras| extras.when.take());
        match (when, self.on) {
            (Some(when), _) => Condition::When(when),
            (None, On::Success) => Condition::Success,
            (None, On::Always) => Condition::None,
        }
    }

    /// Whether the job runs whatever the response.
    pub(crate) fn is_unconditional(&self) -> bool {
        self.on == On::Always && self.extras.as_ref().is_none_or(|extras| extras.when.is_none())
    }

    pub(crate) fn set_payload(&mut self, payload: Vec<u8>) {
        self.extras().payload = Some(payload);
    }

    pub(crate) fn payload(&self) -> Option<&[u8]> {
        self.extras.as_ref()?.payload.as_deref()
    }

    /// Keeps what stops the later attempts.
    pub(crate) fn set_retry(&mut self, retry: AbortHandle) {
        self.extras().retry = Some(retry);
    }

    pub(crate) fn take_retry(&mut self) -> Option<AbortHandle> {
        self.extras.as_mut()?.retry.take()
    }

    pub(crate) fn take_extras(&mut self) -> Option<Box<Extras>> {
        self.extras.take()
    }

    fn extras(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }
}

impl<L> Collector<L> {
    pub(crate) fn new() -> Self {
        Self {
            base: 0,
            entries: SmallVec::new(),
            first: None,
            rest: VecDeque::new(),
            ended: 0,
            open: 0,
            waiting: 0,
        }
    }

    /// Adds a job, and returns its index. `append` puts the job itself at the end of the last line that has not
    /// been taken, or returns a new line for it.
    pub(crate) fn push(
        &mut self,
        entry: Entry,
        append: impl FnOnce(Option<&mut L>, usize) -> Option<L>,
    ) -> usize {
        // Grows in larger steps than doubling from one: a request that defers ten jobs allocates once for them.
        if self.entries.len() == self.entries.capacity() {
            self.entries.reserve(self.entries.len().max(3) * 3);
        }
        let index = self.base + self.entries.len();
        self.entries.push(entry);
        self.open += 1;
        self.waiting += 1;
        let last = self.rest.back_mut().or(self.first.as_mut());
        if let Some(line) = append(last, index) {
            if self.first.is_none() && self.rest.is_empty() {
                self.first = Some(line);
            } else {
                self.rest.push_back(line);
            }
        }
        index
    }

    /// Takes the first line that nobody has taken.
    pub(crate) fn take_line(&mut self) -> Option<L> {
        self.first.take().or_else(|| self.rest.pop_front())
    }

    /// The lines that nobody has taken.
    pub(crate) fn lines(&mut self) -> impl Iterator<Item = &mut L> {
        self.first.iter_mut().chain(&mut self.rest)
    }

    pub(crate) fn entry(&mut self, index: usize) -> Option<&mut Entry> {
        let at = index.checked_sub(self.base)?;
        self.entries.get_mut(at)
    }

    /// The jobs that have not ended, with their indices.
    pub(crate) fn open_entries(&mut self) -> impl Iterator<Item = (usize, &mut Entry)> {
        let base = self.base;
        self.entries
            .iter_mut()
            .enumerate()
            .filter(|(_, entry)| entry.step != Step::Ended)
            .map(move |(at, entry)| (base + at, entry))
    }

    /// How many jobs have not ended.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// How many jobs have not started.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Begins an attempt of a job that has not ended and is not leaving. Returns whether it is the first too.
    pub(crate) fn start(&mut self, index: usize) -> Option<(&mut Entry, bool)> {
        let entry = self.entries.get_mut(index.checked_sub(self.base)?)?;
        let first = match entry.step {
            Step::Leaving | Step::Ended => return None,
            Step::Waiting => true,
            Step::Running | Step::Backoff => false,
        };
        self.waiting -= usize::from(first);
        entry.step = Step::Running;
        entry.attempts += 1;
        Some((entry, first))
    }

    /// Moves a job on that has neither ended nor is leaving, and returns what it was at.
    pub(crate) fn step(&mut self, index: usize, to: Step) -> Option<Step> {
        let entry = self.entry(index)?;
        if matches!(entry.step, Step::Leaving | Step::Ended) {
            return None;
        }
        let from = std::mem::replace(&mut entry.step, to);
        if from == Step::Waiting && to != Step::Waiting {
            self.waiting -= 1;
        }
        Some(from)
    }

    /// Ends a job that is at a step that `from` allows, and returns that step and what `see` sees last.
    pub(crate) fn end<T>(
        &mut self,
        index: usize,
        from: impl FnOnce(Step) -> bool,
        see: impl FnOnce(&mut Entry) -> T,
    ) -> Option<(Step, T)> {
        let entry = self.entry(index)?;
        let step = entry.step;
        if step == Step::Ended || !from(step) {
            return None;
        }
        entry.step = Step::Ended;
        let seen = see(entry);
        self.waiting -= usize::from(step == Step::Waiting);
        self.open -= 1;
        self.forget_ended();
        Some((step, seen))
    }

    /// Lets go of entries at the front that have ended, so that jobs which defer jobs for ever need no more and
    /// more room.
    fn forget_ended(&mut self) {
        if self.open == 0 {
            self.base += self.entries.len();
            self.entries.clear();
            self.ended = 0;
            return;
        }
        let behind = self.entries[self.ended..].iter();
        self.ended += behind.take_while(|entry| entry.step == Step::Ended).count();
        // A drain moves what is behind: only when that is less than what goes.
        if self.ended >= 32 && self.ended * 2 >= self.entries.len() {
            self.entries.drain(..self.ended);
            self.base += self.ended;
            self.ended = 0;
        }
    }
}
