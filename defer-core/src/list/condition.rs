//! Asks a job's condition.

use std::time::Duration;

use super::{extras::Question, list::JobList};
use crate::{model::error::caught, observe::event::JobEventKind};

impl JobList {
    /// Asks a job's condition. Without a response there is nothing to ask about, and the job runs.
    ///
    /// # Errors
    ///
    /// Asks the question. Returns how the job ends if it must not run.
    pub(crate) fn ask(&self, question: Question) -> Result<(), JobEventKind> {
        let Some(response) = self.response() else { return Ok(()) };
        let runs = match question {
            Question::IsSuccess => response.is_success(),
            Question::When(when) => caught(|| when(response))
                .map_err(|error| JobEventKind::Panicked { error, elapsed: Duration::ZERO })?,
        };
        if runs { Ok(()) } else { Err(JobEventKind::Skipped) }
    }
}
