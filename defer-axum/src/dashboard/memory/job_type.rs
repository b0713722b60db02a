//! The figures and latest runs of one job type.

use std::{collections::VecDeque, time::Duration};

use super::{
    outcome::{Group, Outcome, Totals},
    run::Run,
    window::Window,
};

/// The number of runs to keep for each type, by [`Group`].
const KEPT: [usize; 4] = [20, 30, 10, 10];
/// In a full group, a run replaces the oldest only if that is older than this. More would only push each other out. Failed runs
/// are always kept.
const KEPT_WITHIN: Duration = Duration::from_secs(1);

/// The figures and latest runs of a job type.
pub(super) struct JobType {
    pub(super) name: &'static str,
    /// `deferred` is as of the last look. Deferred jobs are not recorded: a look counts the unfinished ones
    /// instead.
    pub(super) totals: Totals,
    /// The number of unfinished jobs at the last look.
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

    /// Returns whether a run with this outcome and attempt is kept.
    pub(super) fn keeps(&self, outcome: Outcome, attempt: u32, at: Duration) -> bool {
        // A job that its queue stores has not ended.
        if outcome == Outcome::Queued {
            return false;
        }
        // It replaces the runs of its earlier attempts.
        if attempt > 1 {
            return true;
        }
        let group = outcome.group();
        let runs = &self.runs[group as usize];
        let is_full = runs.len() == KEPT[group as usize];
        group == Group::Failed || !is_full || runs.front().is_none_or(|oldest| oldest.at + KEPT_WITHIN < at)
    }

    /// Removes the run of the job's earlier attempt, if it is still there, so that each job has one run.
    pub(super) fn take_earlier(&mut self, run: &Run) -> Option<Run> {
        let retried = &mut self.runs[Group::Retrying as usize];
        let earlier = retried.iter().rposition(|earlier| earlier.id == run.id)?;
        retried.remove(earlier)
    }

    /// Keeps a run. It replaces the oldest of its group if the group is full.
    pub(super) fn keep(&mut self, mut run: Run) {
        let group = run.outcome.group() as usize;
        let runs = &mut self.runs[group];
        if runs.len() == KEPT[group] {
            runs.pop_front();
        }
        if let Some(before) = runs.back() {
            run.share(before);
        }
        // Doubling could reserve more than is ever kept.
        if runs.len() == runs.capacity() {
            runs.reserve_exact((KEPT[group] - runs.len()).min(runs.len().max(2)));
        }
        runs.push_back(run);
    }
}
