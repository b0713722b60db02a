//! The state shared by all requests to a dashboard: the sources of its figures.

use std::sync::Arc;

use defer_core::Runner;

use crate::dashboard::{
    memory::journal::Journal,
    queue::{
        action::{Action, Done, Group},
        cache::Cache,
    },
    sections::{
        failures,
        page::Page,
        process::Process,
        snapshot::{Facts, Snapshot},
        view::View,
    },
};

#[derive(Clone)]
pub(super) struct Site(Arc<Parts>);

struct Parts {
    runner: Runner,
    journal: Arc<Journal>,
    process: Process,
    queue: Cache,
    has_actions: bool,
}

impl Site {
    pub(super) fn new(
        runner: Runner,
        journal: Arc<Journal>,
        version: Option<String>,
        has_actions: bool,
    ) -> Self {
        let process = Process::new(version, journal.begun_at());
        Self(Arc::new(Parts { runner, journal, process, queue: Cache::default(), has_actions }))
    }

    pub(super) fn runner(&self) -> &Runner {
        &self.0.runner
    }

    pub(super) fn has_actions(&self) -> bool {
        self.0.has_actions
    }

    /// Returns the current page, with the latest answer of the queue.
    pub(super) fn page(&self, view: &View) -> Page {
        Page {
            snapshot: self.snapshot(view),
            view: view.clone(),
            has_actions: self.0.has_actions,
            hides_errors: self.0.journal.hides_errors(),
        }
    }

    /// Returns the current figures, with the latest answer of the queue.
    pub(super) fn snapshot(&self, view: &View) -> Snapshot {
        let Parts { runner, journal, process, queue, .. } = &*self.0;
        Facts { process: process.clone(), runner, journal, queue }.snapshot(view)
    }

    /// Asks the queue for what this view shows, unless the latest answer is new enough.
    pub(super) async fn refresh_queue(&self, view: &View) {
        let Parts { runner, queue, .. } = &*self.0;
        let job = view.find().and_then(|id| id.parse().ok());
        let ask_for_job = async {
            if let Some(id) = job {
                queue.refresh_job(runner, id).await;
            }
        };
        tokio::join!(queue.refresh(runner), ask_for_job);
    }

    /// Returns the queue's group of failed jobs with this key.
    pub(super) async fn group(&self, key: &str) -> Option<Group> {
        let Parts { runner, queue, .. } = &*self.0;
        queue.refresh(runner).await;
        failures::group(&queue.get(runner)?.failures, key)
    }

    /// Performs an operator's action. Returns its result, or why nothing was done.
    pub(super) async fn perform(&self, action: &Action, operator: String) -> Result<Done, &'static str> {
        let done = action.perform(&self.0.runner, operator).await;
        self.0.queue.forget().await;
        done
    }
}
