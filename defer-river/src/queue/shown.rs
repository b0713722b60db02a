//! A job of River's, as this crate shows it.

use std::time::Duration;

use defer_core::{
    JobStatus,
    queue::{QueuedJob, QueuedState},
};

use crate::store::Stored;

/// Returns a time by the database's clock.
pub(super) fn duration(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}

impl Stored {
    /// Returns how many attempts it has had, without one that runs. What died with its process was none.
    pub(super) fn attempts(&self) -> u32 {
        let running = u32::from(self.state == "running");
        self.attempt.saturating_sub(running).saturating_sub(self.rescues.unwrap_or_default())
    }

    pub(super) fn job_status(&self) -> JobStatus {
        match &*self.state {
            "running" => JobStatus::Running,
            "completed" => JobStatus::Succeeded,
            "discarded" => JobStatus::failed(self.error.as_deref().unwrap_or_default()),
            "cancelled" => match (self.defer.ended.as_deref(), self.defer.of.as_deref().map(str::parse)) {
                (Some("duplicate"), Some(Ok(of))) => JobStatus::duplicate(of),
                (Some("skipped"), _) => JobStatus::Skipped,
                _ => JobStatus::Cancelled,
            },
            _ => JobStatus::Pending,
        }
    }

    fn state(&self) -> QueuedState {
        match &*self.state {
            "running" => QueuedState::Running,
            "completed" => QueuedState::Done,
            "discarded" => QueuedState::Failed,
            "cancelled" => match self.defer.ended.as_deref() {
                Some("duplicate") => QueuedState::Duplicate,
                Some("skipped") => QueuedState::Skipped,
                _ => QueuedState::Cancelled,
            },
            _ if self.defer.holder.is_some() => QueuedState::Held,
            _ if self.due > 0 && self.attempts() > 0 => QueuedState::Retrying,
            _ if self.due > 0 => QueuedState::Delayed,
            _ if self.is_paused.is_set() => QueuedState::Paused,
            _ => QueuedState::Ready,
        }
    }

    pub(super) fn shown(self) -> Option<QueuedJob> {
        let mut job = QueuedJob::new(self.defer.id?, &*self.kind, self.state());
        job.attempts = self.attempts();
        let waits = matches!(
            job.state,
            QueuedState::Ready | QueuedState::Paused | QueuedState::Delayed | QueuedState::Retrying
        );
        job.due_in = (waits && self.due > 0).then(|| duration(self.due));
        job.ready_for = (waits && self.due <= 0).then(|| duration(self.due.saturating_neg()));
        job.age = Some(duration(self.age));
        job.ended = self.ended.map(duration);
        job.error = self.error.clone();
        let mut request = self.defer.request();
        job.trace_id = request.get("traceparent").and_then(|trace| Some(trace.split('-').nth(1)?.to_owned()));
        job.route = request.remove("route");
        job.request_id = request.remove("request_id");
        if let Some(response) = self.defer.response() {
            (job.status, job.delivery) = (response.status(), Some(response.delivery()));
        }
        Some(job)
    }
}
