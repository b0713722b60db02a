//! The figures and latest runs of one job type.

use std::{collections::VecDeque, time::Duration};

use super::{
    outcome::{Group, Outcome, Totals},
    run::Run,
    window::Window,
};

/// How many runs of each type are kept, of each [`Group`].
const KEPT: [usize; 4] = [20, 30, 10, 10];
/// At most one successful run is kept within this time: more would only push each other out.
const KEPT_WITHIN: Duration = Duration::from_secs(1);

/// The figures and latest runs of a job type.
pub(super) struct JobType {
    pub(super) name: &'static str,
    /// `deferred` is as it was when somebody last looked. A job that is deferred is not noted: what has not ended is counted
    /// then.
    pub(super) totals: Totals,
    /// How many had not ended then.
    pub(super) unfinished: u64,
    pub(super) window: Window,
    /// The latest runs of each [`Group`], the newest last.
    pub(super) runs: [VecDeque<Run>; 4],
}

impl JobType {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            totals: Totals::default(),
            unfinished: 0,
            window: Window::new(),
            runs: KEPT.map(|_| VecDeque::new()),
        }
    }

    /// Returns whether a run is kept that ended like this in this attempt, or in none.
    pub(super) fn keeps(&self, outcome: Outcome, attempt: u32, at: Duration) -> bool {
        // A job that its queue has is not over.
        if outcome == Outcome::Queued {
            return false;
        }
        // One with earlier attempts takes the place of those.
        if attempt > 1 {
            return true;
        }
        let group = outcome.group();
        let runs = &self.runs[group as usize];
        let is_full = runs.len() == KEPT[group as usize];
        group == Group::Failed || !is_full || runs.front().is_none_or(|oldest| oldest.at + KEPT_WITHIN < at)
    }

    /// Takes out the run of the job's earlier attempt, if that is still there, so that it has one run.
    pub(super) fn take_earlier(&mut self, run: &Run) -> Option<Run> {
        let retried = &mut self.runs[Group::Retrying as usize];
        let earlier = retried.iter().rposition(|earlier| earlier.id == run.id)?;
        retried.remove(earlier)
    }

    /// Keeps a run, in place of the oldest of its group if that is full.
    pub(super) fn keep(&mut self, mut run: Run) {
        let group = run.outcome.group() as usize;
        let runs = &mut self.runs[group];
        if runs.len() == KEPT[group] {
            runs.pop_front();
        }
        if let Some(before) = runs.back() {
            run.share(before);
        }
        // Not twice as much as there may be.
        if runs.len() == runs.capacity() {
            runs.reserve_exact((KEPT[group] - runs.len()).min(runs.len().max(2)));
        }
        runs.push_back(run);
    }
}
