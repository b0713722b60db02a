//! Looking into the queue.

use std::{future::ready, time::Duration};

use super::{
    queue::TestQueue,
    table::{Fault, Row, RowState},
};
use crate::{
    model::{error::BoxError, id::JobId, status::JobStatus},
    primitives::BoxFuture,
    store::{Cancel, FailedJob, InspectQueue, QueueCounts},
};

/// Returns an answer that is there at once.
fn answer<'a, T: Send + 'a>(answer: T) -> BoxFuture<'a, Result<T, BoxError>> {
    Box::pin(ready(Ok(answer)))
}

fn error(row: &Row) -> Option<&str> {
    match &row.state {
        RowState::Ended(JobStatus::Failed { error, .. }) => Some(error),
        _ => None,
    }
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
        let rows = self.table.rows();
        answer(rows.iter().find(|row| row.job.id == id).map(Row::status))
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
                // Until somebody asks again.
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
}
