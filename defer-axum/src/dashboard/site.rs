//! What all requests to a dashboard share: where the figures come from.

use std::sync::Arc;

use defer_core::{JobId, Runner};

use super::{
    journal::Journal,
    page::Page,
    queue::{Cache, Inspected},
    snapshot::{Snapshot, View},
};

#[derive(Clone)]
pub(super) struct Site(Arc<Parts>);

struct Parts {
    runner: Runner,
    journal: Arc<Journal>,
    queue: Cache,
    has_actions: bool,
}

impl Site {
    pub(super) fn new(runner: Runner, journal: Arc<Journal>, has_actions: bool) -> Self {
        Self(Arc::new(Parts { runner, journal, queue: Cache::default(), has_actions }))
    }

    pub(super) fn runner(&self) -> &Runner {
        &self.0.runner
    }

    pub(super) fn has_actions(&self) -> bool {
        self.0.has_actions
    }

    /// Returns the page as it is now, with the latest answer of the queue.
    pub(super) fn page(&self, view: &View) -> Page {
        Page {
            snapshot: self.snapshot(view),
            view: view.clone(),
            has_actions: self.0.has_actions,
            hides_errors: self.0.journal.hides_errors(),
        }
    }

    /// Returns the figures as they are now, with the latest answer of the queue.
    pub(super) fn snapshot(&self, view: &View) -> Snapshot {
        Snapshot::take(&self.0.runner, &self.0.journal, self.inspected(), view)
    }

    fn inspected(&self) -> Option<Inspected> {
        self.0.queue.get(&self.0.runner)
    }

    /// Asks the queue, if the latest answer is old.
    pub(super) async fn refresh_queue(&self) {
        self.0.queue.refresh(&self.0.runner).await;
    }

    /// Runs a failed job of the queue again. Returns whether there was such a job.
    pub(super) async fn retry(&self, id: JobId) -> Result<bool, &'static str> {
        self.0.queue.retry(&self.0.runner, id).await
    }
}
