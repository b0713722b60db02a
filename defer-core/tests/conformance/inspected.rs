//! The queue that holds jobs can be looked into.

use std::future::ready;

use defer_core::{
    BoxError, BoxFuture, JobId, JobStatus,
    queue::{Cancel, FailedJob, InspectQueue, QueueCounts},
};
use tokio::time::Instant;

use crate::{
    Broken,
    held::Holding,
    table::{Row, State},
};

/// Returns an answer that is there at once.
fn answer<'a, T: Send + 'a>(answer: T) -> BoxFuture<'a, Result<T, BoxError>> {
    Box::pin(ready(Ok(answer)))
}

fn error(row: &Row) -> Option<&str> {
    match &row.state {
        State::Ended(JobStatus::Failed { error, .. }) => Some(error),
        _ => None,
    }
}

impl InspectQueue for Holding {
    fn counts(&self) -> BoxFuture<'_, Result<QueueCounts, BoxError>> {
        let mut counts = QueueCounts::default();
        if !self.table.is(Broken::CountsNothing) {
            for row in &*self.table.rows() {
                match row.state {
                    State::Ready(_) => counts.pending += 1,
                    State::Held | State::Taken => counts.running += 1,
                    State::Ended(JobStatus::Succeeded) => counts.done += 1,
                    State::Ended(JobStatus::Failed { .. }) => counts.failed += 1,
                    State::Ended(_) => {}
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
        let rows = self.table.rows();
        answer(rows.iter().find(|row| row.job.id == id).map(|row| match &row.state {
            State::Held | State::Ready(_) => JobStatus::Pending,
            State::Taken => JobStatus::Running,
            State::Ended(status) => status.clone(),
        }))
    }

    fn retry(&self, id: JobId) -> BoxFuture<'_, Result<bool, BoxError>> {
        let mut rows = self.table.rows();
        let row = rows.iter_mut().find(|row| row.job.id == id && error(row).is_some());
        answer(row.is_some_and(|row| {
            (row.attempts, row.state) = (0, State::Ready(Instant::now()));
            true
        }))
    }

    fn discard(&self, id: JobId) -> BoxFuture<'_, Result<bool, BoxError>> {
        let mut rows = self.table.rows();
        let at = rows.iter().position(|row| row.job.id == id && error(row).is_some());
        answer(at.map(|at| rows.remove(at)).is_some())
    }

    fn cancel(&self, id: JobId) -> BoxFuture<'_, Result<Cancel, BoxError>> {
        let mut rows = self.table.rows();
        let Some(row) = rows.iter_mut().find(|row| row.job.id == id) else { return answer(Cancel::Unknown) };
        if matches!(row.state, State::Ended(_)) {
            return answer(Cancel::Ended);
        }
        if self.table.is(Broken::RunsWhatIsCancelled) {
            // Until somebody asks again.
            row.attempts += 1;
            return answer(if row.attempts > 1 { Cancel::Ended } else { Cancel::Cancelled });
        }
        row.state = State::Ended(JobStatus::Cancelled);
        answer(Cancel::Cancelled)
    }

    fn pause<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), BoxError>> {
        if !self.table.is(Broken::RunsWhatIsPaused) {
            self.table.paused.lock().unwrap().push(name.to_owned());
        }
        answer(())
    }

    fn resume<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), BoxError>> {
        self.table.paused.lock().unwrap().retain(|paused| paused != name);
        answer(())
    }
}
