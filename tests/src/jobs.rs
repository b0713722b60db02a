//! Jobs that log that they ran, and a runner for them.

use defer_axum::{Deferrable, Job, JobContext, JobResult, Runner};

use crate::Log;

/// Adds a line to its runner's log.
#[derive(Clone, Debug, PartialEq, Eq, Deferrable)]
pub struct Note {
    /// The line.
    pub line: String,
}

impl Job for Note {
    async fn run(&self, cx: &JobContext) -> JobResult {
        cx.state::<Log>()?.add(self.line.as_str());
        Ok(())
    }
}

/// Adds a line about how its response ended to its runner's log: `Sent 200 5`, for the delivery, the status and the
/// bytes.
#[derive(Clone, Debug, PartialEq, Eq, Deferrable)]
pub struct NoteEnding;

impl Job for NoteEnding {
    async fn run(&self, cx: &JobContext) -> JobResult {
        let response = cx.response().expect("a request's job");
        let status = response.status().map_or(0, |status| status.as_u16());
        cx.state::<Log>()?.add(format!("{:?} {status} {}", response.delivery(), response.bytes_sent()));
        Ok(())
    }
}

/// Creates a runner that gives this log to its jobs.
pub fn runner(log: &Log) -> Runner {
    Runner::builder().state(log.clone()).build()
}
