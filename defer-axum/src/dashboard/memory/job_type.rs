//! The figures and latest runs of one job type.

use std::{collections::VecDeque, time::Duration};

use defer_core::{JobId, event::JobEvent};

use super::{
    outcome::{Group, Outcome, Totals},
    run::{Ended, Run},
    window::Window,
};

/// The number of runs to keep for each type, by [`Group`].
const KEPT: [usize; 4] = [20, 30, 10, 10];
/// In a full group, a run that did not fail replaces the oldest only if that is older than `BURST`, or the newest older than
/// `SAMPLE`. So a burst is kept whole, and a steady stream as a sample of its last ten seconds, at little cost.
const BURST: Duration = Duration::from_secs(10);
const SAMPLE: Duration = Duration::from_millis(500);

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
    /// The time from which the next run of each group is kept. Stored, because it is compared at the end of each job.
    keeps_from: [Duration; 4],
}

impl JobType {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            totals: Totals::default(),
            unfinished: 0,
            window: Window::new(),
            runs: KEPT.map(|_| VecDeque::new()),
            keeps_from: KEPT.map(|_| Duration::ZERO),
        }
    }

    /// Returns whether a run with this outcome and attempt is kept.
    #[inline]
    pub(super) fn keeps(&self, outcome: Outcome, attempt: u32, at: Duration) -> bool {
        // A job that its queue stores has not ended. A later attempt replaces the runs of the earlier ones.
        outcome != Outcome::Queued && (attempt > 1 || at >= self.keeps_from[outcome.group() as usize])
    }

    /// Keeps a run. It replaces the run of the job's earlier attempt, if that is still there, so that each job has one run, and
    /// otherwise the oldest of its group if the group is full.
    pub(super) fn keep(&mut self, number: u64, event: &JobEvent, ended: &Ended, error: Option<&str>) {
        let earlier = self.take_earlier(event.id());
        let group = ended.outcome.group() as usize;
        let runs = &mut self.runs[group];
        if runs.len() == KEPT[group] {
            runs.pop_front();
        }
        // Doubling could reserve more than is ever kept.
        if runs.len() == runs.capacity() {
            runs.reserve_exact((KEPT[group] - runs.len()).min(runs.len().max(2)));
        }
        let previous = runs.back();
        let mut run = Run::new(number, event, ended, previous);
        if let Some(earlier) = earlier {
            run.errors = earlier.errors;
        }
        if let Some(error) = error {
            run.add_error(error);
        }
        if let Some(previous) = previous {
            run.share_errors(previous);
        }
        runs.push_back(run);
        if runs.len() == KEPT[group] && group != Group::Failed as usize {
            self.keeps_from[group] = (ended.at + SAMPLE).min(runs[0].at + BURST);
        }
    }

    fn take_earlier(&mut self, id: JobId) -> Option<Run> {
        const RETRYING: usize = Group::Retrying as usize;
        let retried = &mut self.runs[RETRYING];
        // Mostly there are none.
        if retried.is_empty() {
            return None;
        }
        let earlier = retried.iter().rposition(|earlier| earlier.id == id)?;
        self.keeps_from[RETRYING] = Duration::ZERO;
        retried.remove(earlier)
    }
}
