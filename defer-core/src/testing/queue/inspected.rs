//! Inspects the queue.

use std::{collections::BTreeMap, future::ready, time::Duration};

use tokio::time::Instant;

use super::{
    queue::TestQueue,
    table::{Fault, Row, RowState},
};
use crate::{
    model::{
        error::BoxError,
        id::JobId,
        metadata::{REQUEST_ID, ROUTE},
        status::JobStatus,
    },
    primitives::BoxFuture,
    store::{
        Cancel, FailedJob, FailureGroup, Holder, InspectQueue, JobFilter, NameCounts, Process, QueueCounts,
        QueuedJob, QueuedState,
    },
};

/// Returns an answer that is available immediately.
fn answer<'a, T: Send + 'a>(answer: T) -> BoxFuture<'a, Result<T, BoxError>> {
    Box::pin(ready(Ok(answer)))
}

fn error(row: &Row) -> Option<&str> {
    match &row.state {
        RowState::Ended(JobStatus::Failed { error, .. }) => Some(error),
        _ => None,
    }
}

fn first_line(error: &str) -> &str {
    error.lines().next().unwrap_or_default()
}

impl TestQueue {
    /// Converts a row for callers that inspect the queue.
    fn shown(&self, row: &Row, paused: &[String], now: Instant) -> QueuedJob {
        let is_paused = paused.contains(&row.job.name);
        let state = match &row.state {
            RowState::Held => QueuedState::Held,
            RowState::Ready(at) if *at > now && row.attempts > 0 => QueuedState::Retrying,
            RowState::Ready(at) if *at > now => QueuedState::Delayed,
            RowState::Ready(_) if is_paused => QueuedState::Paused,
            RowState::Ready(_) => QueuedState::Ready,
            RowState::Taken => QueuedState::Running,
            RowState::Ended(JobStatus::Succeeded) => QueuedState::Done,
            RowState::Ended(JobStatus::Failed { .. }) => QueuedState::Failed,
            RowState::Ended(JobStatus::Skipped) => QueuedState::Skipped,
            RowState::Ended(JobStatus::Duplicate { .. }) => QueuedState::Duplicate,
            RowState::Ended(_) => QueuedState::Cancelled,
        };
        let mut job = QueuedJob::new(row.job.id, &*row.job.name, state);
        job.attempts = row.attempts;
        if let RowState::Ready(at) = row.state {
            job.due_in = (at > now).then(|| at - now);
            job.ready_for = (at <= now).then(|| now - at);
        }
        job.age = Some(now - row.created);
        job.ended = matches!(row.state, RowState::Ended(_)).then(|| now - row.since);
        job.error = error(row).map(str::to_owned);
        job.route = row.job.metadata.get(ROUTE).cloned();
        job.request_id = row.job.metadata.get(REQUEST_ID).cloned();
        job.status = row.job.status;
        if let Some(response) = &row.response {
            (job.status, job.delivery) = (response.status(), Some(response.delivery()));
        }
        let is_had = matches!(row.state, RowState::Held | RowState::Taken);
        job.process = is_had.then(this_process);
        job
    }

    /// Returns whether a row belongs to a group of failures.
    fn is_of_group(&self, row: &Row, name: &str, first: &str) -> bool {
        let is_of_line = |error| self.table.has(Fault::MixesFailures) || first_line(error) == first;
        row.job.name == name && error(row).is_some_and(is_of_line)
    }
}

fn this_process() -> Process {
    Process::new("", std::process::id())
}

impl InspectQueue for TestQueue {
    fn counts(&self) -> BoxFuture<'_, Result<QueueCounts, BoxError>> {
        let mut counts = QueueCounts::default();
        if !self.table.has(Fault::CountsNothing) {
            for row in &*self.table.rows() {
                match row.state {
                    RowState::Ready(_) => counts.pending += 1,
                    RowState::Held | RowState::Taken => counts.running += 1,
                    RowState::Ended(JobStatus::Succeeded) => counts.done += 1,
                    RowState::Ended(JobStatus::Failed { .. }) => counts.failed += 1,
                    RowState::Ended(_) => {}
                }
            }
        }
        answer(counts)
    }

    fn failed(&self, limit: usize) -> BoxFuture<'_, Result<Vec<FailedJob>, BoxError>> {
        let rows = self.table.rows();
        let failed = |row: &Row| Some(FailedJob::new(row.job.id, &*row.job.name, row.attempts, error(row)?));
        answer(rows.iter().rev().filter_map(failed).take(limit).collect())
    }

    fn status(&self, id: JobId) -> BoxFuture<'_, Result<Option<JobStatus>, BoxError>> {
        answer(self.table.status(id))
    }

    fn retry(&self, id: JobId) -> BoxFuture<'_, Result<bool, BoxError>> {
        let has_failed = {
            let mut rows = self.table.rows();
            let row = rows.iter_mut().find(|row| row.job.id == id && error(row).is_some());
            row.map(|row| (row.attempts, row.state) = (0, self.table.ready_after(Duration::ZERO))).is_some()
        };
        self.table.wake_stopped(id);
        answer(has_failed)
    }

    fn discard(&self, id: JobId) -> BoxFuture<'_, Result<bool, BoxError>> {
        let mut rows = self.table.rows();
        let at = rows.iter().position(|row| row.job.id == id && error(row).is_some());
        answer(at.map(|at| rows.remove(at)).is_some())
    }

    fn cancel(&self, id: JobId) -> BoxFuture<'_, Result<Cancel, BoxError>> {
        {
            let mut rows = self.table.rows();
            let Some(row) = rows.iter_mut().find(|row| row.job.id == id) else {
                return answer(Cancel::Unknown);
            };
            if matches!(row.state, RowState::Ended(_)) {
                return answer(Cancel::Ended);
            }
            if self.table.has(Fault::RunsWhatIsCancelled) {
                // Lasts until the status is asked for again.
                row.attempts += 1;
                return answer(if row.attempts > 1 { Cancel::Ended } else { Cancel::Cancelled });
            }
            row.state = RowState::Ended(JobStatus::Cancelled);
        }
        self.table.wake_stopped(id);
        answer(Cancel::Cancelled)
    }

    fn pause<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), BoxError>> {
        self.table.pause_type(name);
        answer(())
    }

    fn resume<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), BoxError>> {
        self.table.resume_type(name);
        answer(())
    }

    fn job(&self, id: JobId) -> BoxFuture<'_, Result<Option<QueuedJob>, BoxError>> {
        let (paused, now) = (self.table.paused_types(), Instant::now());
        let rows = self.table.rows();
        answer(rows.iter().find(|row| row.job.id == id).map(|row| self.shown(row, &paused, now)))
    }

    fn jobs(&self, filter: JobFilter, limit: usize) -> BoxFuture<'_, Result<Vec<QueuedJob>, BoxError>> {
        let (paused, now) = (self.table.paused_types(), Instant::now());
        let mut jobs: Vec<_> = self.table.rows().iter().map(|row| self.shown(row, &paused, now)).collect();
        jobs.retain(|job| match filter {
            JobFilter::Ready => job.ready_for.is_some(),
            JobFilter::Delayed => job.due_in.is_some(),
            JobFilter::Running => job.process.is_some(),
        });
        match filter {
            JobFilter::Ready => jobs.sort_by_key(|job| std::cmp::Reverse(job.ready_for)),
            JobFilter::Delayed => jobs.sort_by_key(|job| job.due_in),
            JobFilter::Running => jobs.sort_by_key(|job| job.id),
        }
        jobs.truncate(limit);
        answer(jobs)
    }

    fn failures(&self, limit: usize) -> BoxFuture<'_, Result<Vec<FailureGroup>, BoxError>> {
        let now = Instant::now();
        let mut groups: Vec<FailureGroup> = Vec::new();
        for row in &*self.table.rows() {
            let Some(error) = error(row).map(first_line) else { continue };
            let age = now - row.since;
            match groups.iter_mut().find(|group| group.name == row.job.name && group.error == error) {
                Some(group) => {
                    group.count += 1;
                    (group.first, group.last) = (group.first.max(age), group.last.min(age));
                }
                None => {
                    let mut group = FailureGroup::new(&*row.job.name, error, row.job.id);
                    (group.first, group.last) = (age, age);
                    groups.push(group);
                }
            }
        }
        groups.sort_by_key(|group| group.last);
        groups.truncate(limit);
        answer(groups)
    }

    fn counts_by_name(&self) -> BoxFuture<'_, Result<Vec<NameCounts>, BoxError>> {
        let (paused, now) = (self.table.paused_types(), Instant::now());
        let mut names = BTreeMap::new();
        for row in &*self.table.rows() {
            let job = self.shown(row, &paused, now);
            if matches!(row.state, RowState::Ended(_)) && job.state != QueuedState::Failed {
                continue;
            }
            let counts: &mut NameCounts =
                names.entry(job.name.clone()).or_insert_with(|| NameCounts::new(job.name));
            counts.ready += u64::from(job.ready_for.is_some());
            counts.delayed += u64::from(job.due_in.is_some());
            counts.running += u64::from(job.process.is_some());
            counts.failed += u64::from(job.state == QueuedState::Failed);
            counts.oldest_due = counts.oldest_due.max(job.ready_for);
        }
        answer(names.into_values().collect())
    }

    fn holders(&self) -> BoxFuture<'_, Result<Vec<Holder>, BoxError>> {
        let mut holder = Holder::new("test", this_process(), env!("CARGO_PKG_VERSION"));
        holder.names = self.table.taken_types().into_iter().map(str::to_owned).collect();
        let is_had = |row: &&Row| matches!(row.state, RowState::Held | RowState::Taken);
        holder.jobs = self.table.rows().iter().filter(is_had).count() as u64;
        answer(vec![holder])
    }

    fn paused(&self) -> BoxFuture<'_, Result<Vec<String>, BoxError>> {
        answer(self.table.paused_types())
    }

    fn retry_all<'a>(&'a self, name: &'a str, error: &'a str) -> BoxFuture<'a, Result<u64, BoxError>> {
        let mut ids = Vec::new();
        for row in &mut *self.table.rows() {
            if self.is_of_group(row, name, error) {
                (row.attempts, row.state) = (0, self.table.ready_after(Duration::ZERO));
                ids.push(row.job.id);
            }
        }
        ids.iter().for_each(|id| self.table.wake_stopped(*id));
        answer(ids.len() as u64)
    }

    fn discard_all<'a>(&'a self, name: &'a str, error: &'a str) -> BoxFuture<'a, Result<u64, BoxError>> {
        let mut rows = self.table.rows();
        let before = rows.len();
        rows.retain(|row| !self.is_of_group(row, name, error));
        answer((before - rows.len()) as u64)
    }
}
