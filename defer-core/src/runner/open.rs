//! Inspects the jobs that have not ended.

use std::time::Duration;

use super::runner::Runner;
use crate::{
    list::open_job::OpenJob,
    model::{id::JobId, status::JobStatus},
};

impl Runner {
    /// Returns a job that has not ended, by its id. `None` if this runner has no such job, because it has ended or the queue has
    /// it.
    ///
    /// Looks at every request that has jobs.
    pub fn open_job(&self, id: JobId) -> Option<OpenJob> {
        let mut found = Vec::new();
        for list in self.engine.lists() {
            list.add_open(|of_job, _| of_job == id, &mut found);
            if !found.is_empty() {
                break;
            }
        }
        let status = self.engine.outcomes().and_then(|outcomes| outcomes.get(id));
        let mut job = found.pop()?;
        if let Some(JobStatus::InProgress { progress, .. }) = status {
            job.progress = Some(progress);
        }
        Some(job)
    }

    /// Returns the jobs of a request that have not ended, by the id in its `x-request-id` header. The layer must be told to
    /// capture that header.
    ///
    /// Looks at every request that has jobs.
    pub fn open_jobs_of_request(&self, request_id: &str) -> Vec<OpenJob> {
        let mut found = Vec::new();
        let lists = self.engine.lists();
        let of_request = lists.iter().filter(|list| list.is_of_request(request_id));
        of_request.for_each(|list| list.add_open(|_, _| true, &mut found));
        found
    }

    /// Returns at most `limit` of the jobs that are not due, because they are delayed or wait for their next attempt. The next
    /// one to be due comes first.
    ///
    /// Looks at every request that has jobs, so call it from time to time rather than for each request.
    pub fn delayed(&self, limit: usize) -> Vec<OpenJob> {
        let mut delayed = Vec::new();
        // Only the next jobs are kept, and jobs that are due after all of them are skipped.
        let mut latest = Duration::MAX;
        for list in self.engine.lists() {
            list.add_open(|_, state| state.due_in().is_some_and(|due_in| due_in <= latest), &mut delayed);
            if delayed.len() / 2 > limit {
                keep_next(&mut delayed, limit);
                let last = delayed.last().and_then(|job| job.state.due_in());
                latest = last.unwrap_or(latest);
            }
        }
        keep_next(&mut delayed, limit);
        delayed
    }
}

fn keep_next(delayed: &mut Vec<OpenJob>, limit: usize) {
    delayed.sort_by_key(|job| job.state.due_in());
    delayed.truncate(limit);
}
