//! A process with a queue on Redis.

use std::{sync::Arc, time::Duration};

use defer_apalis::{ApalisQueue, ApalisWorker, JobHandler};
use defer_core::{
    Deferrable, JobId, Runner,
    queue::{Envelope, Queue},
};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

use super::{Does, Journal, Note, redis::Place, runner};

pub(crate) fn envelope(text: &str, does: Does) -> Envelope {
    let payload = Note::ENCODE.unwrap()(&Note::new(text, does)).unwrap();
    Envelope::new(JobId::unique(), Note::NAME, Note::POLICY, payload)
}

/// One process on a place.
pub(crate) struct Process {
    pub(crate) place: Place,
    pub(crate) queue: ApalisQueue,
    pub(crate) runner: Runner,
    pub(crate) journal: Journal,
}

impl Process {
    pub(crate) async fn on(place: &Place) -> Self {
        let (queue, journal) = (ApalisQueue::new(place.storage().await), Journal::default());
        let runner = runner(queue.clone(), &journal);
        Self { place: place.clone(), queue, runner, journal }
    }

    pub(crate) fn handler(&self) -> JobHandler {
        self.queue.handler(self.runner.clone()).job::<Note>()
    }

    pub(crate) async fn push(&self, text: &str, does: Does) -> JobId {
        self.push_after(Duration::ZERO, text, does).await
    }

    pub(crate) async fn push_after(&self, delay: Duration, text: &str, does: Does) -> JobId {
        let mut job = envelope(text, does);
        job.delay = delay;
        let id = job.id;
        self.queue.push(vec![job]).await.unwrap();
        id
    }

    /// Returns what a server would run, and a count of how often it failed.
    pub(crate) fn worker(&self) -> (ApalisWorker, Arc<watch::Sender<usize>>) {
        let failures = Arc::new(watch::Sender::new(0));
        let (place, of_worker) = (self.place.clone(), failures.clone());
        let worker = ApalisWorker::new(self.handler(), move |handler, stop| {
            let (place, failures) = (place.clone(), of_worker.clone());
            async move {
                let ended = place.try_work_until(handler, stop).await;
                failures.send_modify(|failures| *failures += usize::from(ended.is_err()));
                ended
            }
        });
        (worker, failures)
    }

    /// Begins to work, until the sender is used or dropped.
    pub(crate) fn work(&self) -> (oneshot::Sender<()>, JoinHandle<()>) {
        let (stop, stopped) = oneshot::channel();
        let (place, handler) = (self.place.clone(), self.handler());
        let task =
            tokio::spawn(async move { place.work_until(handler, async { drop(stopped.await) }).await });
        (stop, task)
    }
}
