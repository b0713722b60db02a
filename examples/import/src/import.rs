//! The job.

use std::time::Duration;

use defer_axum::{Deferrable, Job, JobContext, JobError, JobResult};
use serde::Serialize;

/// The time that each line takes.
pub(crate) struct Pace(pub(crate) Duration);

/// Imports contacts, one per line: a name, a comma and an address.
#[derive(Deferrable)]
pub(crate) struct Import {
    lines: Vec<String>,
}

/// Its progress.
#[derive(Serialize)]
struct Progress {
    done: usize,
    of: usize,
    /// Lines that are not contacts.
    refused: usize,
}

impl Job for Import {
    async fn run(&self, cx: &JobContext) -> JobResult {
        let mut progress = Progress { done: 0, of: self.lines.len(), refused: 0 };
        cx.set_progress(&progress)?;
        for line in &self.lines {
            // If the import is cancelled, the job is dropped here. To clean up, a job can wait for `cx.cancelled()` too.
            tokio::time::sleep(cx.state::<Pace>()?.0).await;
            progress.done += 1;
            progress.refused += usize::from(!is_contact(line));
            cx.set_progress(&progress)?;
        }
        if progress.of > 0 && progress.refused == progress.of {
            return Err(JobError::msg("no line is a contact"));
        }
        Ok(())
    }
}

fn is_contact(line: &str) -> bool {
    line.split_once(',').is_some_and(|(name, address)| !name.trim().is_empty() && address.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_is_a_name_a_comma_and_an_address() {
        assert!(is_contact("Ada, ada@example.com"));
        assert!(["", "Ada", "Ada, ada", ", ada@example.com"].into_iter().all(|line| !is_contact(line)));
    }
}
