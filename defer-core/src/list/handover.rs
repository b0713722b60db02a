//! Jobs of a list for the queue, which are pushed before the response goes out.

use super::{entry::Entry, list::JobList};
use crate::{error::JobError, event::JobEventKind, queue::push};

impl JobList {
    /// Pushes the jobs for the queue, so that they outlive this process. After an error they stay here. Those with a
    /// condition stay too: whether it holds is not known before the response is over.
    ///
    /// Cancel safe: the jobs stay as they are, though the queue may have them already.
    pub(super) async fn push_to_queue(&self) {
        let Some(queue) = self.runner().queue() else { return };
        let (indices, envelopes): (Vec<usize>, Vec<_>) = self
            .lock()
            .waiting_entries()
            .filter(|(_, entry)| entry.is_unconditional())
            .filter_map(|(index, entry)| Some((index, entry.envelope()?)))
            .unzip();
        if envelopes.is_empty() {
            return;
        }
        match push(queue, envelopes).await {
            Ok(()) => {
                for index in indices {
                    if let Some(ended) = self.transition(|state| state.end_queued(index)) {
                        self.ended(ended, &JobEventKind::Queued);
                    }
                }
            }
            Err(error) => indices.into_iter().for_each(|index| self.queue_failed(index, error.clone())),
        }
    }

    fn queue_failed(&self, index: usize, error: JobError) {
        if let Ok(job) = self.change(index, (), |entry: &mut Entry, ()| entry.job()) {
            self.report(job, &JobEventKind::QueueFailed { error });
        }
    }
}
