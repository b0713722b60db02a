//! One queue in a fresh place, with everything needed to use it.

use std::{collections::BTreeMap, sync::Arc};

use http::StatusCode;

use super::{
    jobs::{Does, Journal, Note, Retried},
    place::{Place, holds, joined},
};
use crate::{
    defer::Scope,
    job::job::Deferrable,
    model::{
        id::JobId,
        response::{Delivery, ResponseInfo},
    },
    runner::Runner,
    store::{Envelope, Lease, Queue},
};

pub(super) struct Bench<P: Place> {
    pub(super) place: P,
    pub(super) queue: P::Queue,
    pub(super) runner: Runner,
    pub(super) journal: Journal,
}

impl<P: Place> Bench<P> {
    pub(super) async fn new(place: P) -> Self {
        let (queue, journal) = (place.connect().await, Journal::default());
        let runner = Runner::builder().state(journal.clone()).queue(queue.clone()).build();
        Self { place, queue, runner, journal }
    }

    /// Runs jobs in this process.
    pub(super) async fn work(&self) {
        P::work(self.queue.clone(), self.runner.clone()).await;
        self.runner.idle().await;
    }

    /// Runs jobs in another process, which writes to the same journal.
    pub(super) async fn work_elsewhere(&self) {
        let queue = self.place.connect().await;
        let runner = Runner::builder().state(self.journal.clone()).queue(queue.clone()).build();
        P::work(queue, runner.clone()).await;
        runner.idle().await;
    }

    pub(super) async fn push(&self, jobs: &[Envelope]) {
        if let Err(error) = self.queue.push(jobs.to_vec()).await {
            panic!("a push of {} jobs to a queue that is well must succeed: {error}", jobs.len());
        }
    }

    /// Makes the queue hold a job.
    pub(super) async fn hold(&self, job: Envelope) -> Arc<dyn Lease> {
        let mut held = holds(&self.queue).hold(vec![job]);
        let stored = held.stored.await;
        assert!(matches!(stored[..], [Ok(())]), "a job that is held must be stored: {stored:?}");
        assert_eq!(held.leases.len(), 1, "`hold` must give one lease for each job");
        held.leases.remove(0)
    }

    /// Gives all leases back, and waits until that is stored.
    pub(super) async fn give_back(&self, leases: Vec<Arc<dyn Lease>>) {
        drop(leases);
        holds(&self.queue).written().await;
    }

    /// Stores the jobs of a request, and returns while its response is being sent.
    pub(super) async fn answered(&self, handler: impl FnOnce()) -> Scope {
        let mut request = Scope::new(self.runner.clone());
        request.enter(handler);
        if let Some(list) = request.list() {
            list.admit(Some(StatusCode::OK)).await;
        }
        request
    }

    /// Asserts that the jobs with these texts have run, once each, in any order.
    #[track_caller]
    pub(super) fn assert_ran_once(&self, texts: &[String]) {
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for text in self.journal.texts() {
            *times.entry(text).or_default() += 1;
        }
        for text in texts {
            let ran = times.remove(text).unwrap_or_default();
            assert_eq!(ran, 1, "each job must run once, but {:?} ran {ran} times", shortened(text));
        }
        assert!(times.is_empty(), "no other job must run, but these did: {:?}", times.keys());
    }

    /// Asserts that nothing has run.
    #[track_caller]
    pub(super) fn assert_nothing_ran(&self, why: &str) {
        let texts = self.journal.texts();
        assert!(texts.is_empty(), "{why} must not run, but these did: {texts:?}");
    }
}

/// Waits for tasks, and panics if one does.
pub(super) async fn all<T>(tasks: Vec<tokio::task::JoinHandle<T>>) {
    for task in tasks {
        joined(task).await;
    }
}

/// Returns the envelope of a job that succeeds.
pub(super) fn note(text: &str) -> Envelope {
    does(text, Does::Succeeds)
}

/// Returns the envelope of a job with one attempt.
pub(super) fn does(text: &str, does: Does) -> Envelope {
    envelope(&Note { text: text.to_owned(), does })
}

/// Returns the envelope of a job with three attempts.
pub(super) fn retried(text: &str, does: Does) -> Envelope {
    envelope(&Retried { text: text.to_owned(), does })
}

fn envelope<J: Deferrable>(job: &J) -> Envelope {
    let encode = J::ENCODE.expect("the suite's jobs can be queued");
    let payload = encode(job).expect("the suite's jobs are JSON");
    Envelope::new(JobId::unique(), J::NAME, J::POLICY, payload)
}

/// Returns the end of a response with status 200.
pub(super) fn sent() -> ResponseInfo {
    ResponseInfo::new(Delivery::Sent).with_status(Some(StatusCode::OK))
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}
