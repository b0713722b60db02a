//! Sets the gauges of a runner's queue.

use std::{
    collections::BTreeSet,
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use metrics::{counter, gauge};
use tokio::{runtime::Handle, sync::watch, time::Instant};

use crate::{
    model::error::BoxError,
    observe::meter::{QUEUE_FAILURES, QUEUE_JOBS, QUEUE_OLDEST_DUE, QUEUE_WORKERS, Types},
    primitives::{sync::lock, timer::timer},
    store::{Holder, InspectQueue, NameCounts, Queue},
};

/// The least time between two questions to the queue.
const EVERY: Duration = Duration::from_secs(1);
/// The time that a scrape waits for an answer. A later answer is used for the next scrape.
const PATIENCE: Duration = Duration::from_millis(250);

/// Asks the queue one question at a time, on behalf of all scrapes.
pub(super) struct QueueGauges {
    types: Arc<Types>,
    asked: Mutex<Asked>,
    answered: watch::Sender<()>,
}

#[derive(Default)]
struct Asked {
    last: Option<Instant>,
    is_open: bool,
    /// The names that have gauges. A name without jobs in the queue has gauges of zero.
    names: BTreeSet<String>,
}

impl QueueGauges {
    pub(super) fn new(types: Arc<Types>) -> Self {
        Self { types, asked: Mutex::default(), answered: watch::Sender::new(()) }
    }

    /// Sets the gauges to the current counts of the queue, unless that was done a moment ago. Asks the queue in a task, and does
    /// not wait for that if it takes long.
    pub(super) async fn refresh(self: &Arc<Self>, queue: &Arc<dyn Queue>) {
        let mut answered = self.answered.subscribe();
        let Some(patience) = self.ask(queue) else { return };
        // Without a timer, do not wait.
        let Ok(mut late) = timer(patience) else { return };
        let mut answer = pin!(answered.changed());
        poll_fn(|cx| match answer.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => late.as_mut().poll(cx),
        })
        .await;
    }

    /// Asks the queue, if it is time. Returns how long to wait for the answer, if one will come.
    fn ask(self: &Arc<Self>, queue: &Arc<dyn Queue>) -> Option<Duration> {
        let runtime = Handle::try_current().ok()?;
        let mut asked = lock(&self.asked);
        let since = asked.last.map(|last| last.elapsed());
        if asked.is_open {
            return PATIENCE.checked_sub(since.unwrap_or_default());
        }
        if since.is_some_and(|since| since < EVERY) {
            return None;
        }
        (asked.last, asked.is_open) = (Some(Instant::now()), true);
        drop(asked);
        let (question, queue) = (Question(self.clone()), queue.clone());
        runtime.spawn(async move {
            if let Some(inspect) = queue.inspect() {
                if question.0.set(inspect).await.is_err() {
                    counter!(QUEUE_FAILURES).increment(1);
                }
            }
            drop(question);
        });
        Some(PATIENCE)
    }

    async fn set(&self, queue: &dyn InspectQueue) -> Result<(), BoxError> {
        let (counts, holders) = (queue.counts_by_name().await?, queue.holders().await?);
        let durable = self.types.durable().into_iter().map(str::to_owned);
        let names = durable.chain(counts.iter().map(|of| of.name.clone()));
        let mut without = {
            let mut asked = lock(&self.asked);
            asked.names.extend(names);
            asked.names.clone()
        };
        for of in counts {
            without.remove(&of.name);
            set_jobs(of);
        }
        without.into_iter().map(NameCounts::new).for_each(set_jobs);
        let is_worker = |holder: &&Holder| !holder.names.is_empty() && !holder.is_silent();
        gauge!(QUEUE_WORKERS).set(float(holders.iter().filter(is_worker).count() as u64));
        Ok(())
    }
}

fn set_jobs(of: NameCounts) {
    let states =
        [("ready", of.ready), ("delayed", of.delayed), ("running", of.running), ("failed", of.failed)];
    for (state, jobs) in states {
        gauge!(QUEUE_JOBS, "name" => of.name.clone(), "state" => state).set(float(jobs));
    }
    let oldest = of.oldest_due.unwrap_or_default();
    gauge!(QUEUE_OLDEST_DUE, "name" => of.name).set(oldest.as_secs_f64());
}

#[allow(clippy::cast_precision_loss, reason = "a gauge is a float")]
fn float(count: u64) -> f64 {
    count as f64
}

/// A question that has not been answered. The queue may panic.
struct Question(Arc<QueueGauges>);

impl Drop for Question {
    fn drop(&mut self) {
        lock(&self.0.asked).is_open = false;
        self.0.answered.send_replace(());
    }
}
