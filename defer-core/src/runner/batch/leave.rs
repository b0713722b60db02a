//! Jobs that leave without having run to their end here: for the queue, or because the runner or the runtime stops.

use std::sync::Arc;

use tokio::task::AbortHandle;

use super::state::Batch;
use crate::{
    collector::{Entry, Step},
    error::{JobError, caught},
    panic::drop_quietly,
    queue::{Envelope, push},
    runner::{
        event::{JobEventKind, Subject},
        line::Work,
        shutdown::UnfinishedJob,
        stats::Final,
    },
    sync::lock,
};

/// What a shutdown has stopped.
pub(crate) struct Stopped {
    pub(crate) abandoned: Vec<UnfinishedJob>,
    pub(crate) leaving: Vec<(usize, Envelope)>,
}

impl Batch {
    /// Pushes the jobs for the queue to it, so that they survive this process; on an error they stay here. Those
    /// with a condition stay here too: whether it holds is not known before the response is over.
    pub(crate) async fn enqueue(self: &Arc<Self>) {
        let Some(queue) = self.runner.queue() else { return };
        let envelopes: Vec<_> = lock(&self.jobs)
            .collector
            .open_entries()
            .filter(|(_, entry)| entry.step() == Step::Waiting && entry.is_unconditional())
            .filter_map(|(index, entry)| Some((index, envelope(entry)?)))
            .collect();
        if envelopes.is_empty() {
            return;
        }
        let ids: Vec<_> = envelopes.iter().map(|(index, _)| *index).collect();
        let jobs = envelopes.into_iter().map(|(_, envelope)| envelope).collect();
        match push(queue, jobs).await {
            Ok(()) => {
                for index in ids {
                    if self.end(index, Final::Queued, JobEventKind::Queued) {
                        let work = {
                            let mut jobs = lock(&self.jobs);
                            jobs.collector.lines().find_map(|line| line.take(index))
                        };
                        drop_quietly(work);
                    }
                }
            }
            Err(error) => {
                for index in ids {
                    self.queue_failed(index, error.clone());
                }
            }
        }
    }

    fn queue_failed(&self, index: usize, error: JobError) {
        let subject = self.change(index, |entry| Subject::new(entry.name, entry.id));
        if let Some(subject) = subject {
            self.report(subject, JobEventKind::QueueFailed { error });
        }
    }

    /// Writes a job as the queue keeps it. Done when it is deferred, because nobody else can while it runs: at the end
    /// of a shutdown it may have to go to the queue from there.
    pub(super) fn encode<W: Work>(&self, entry: &mut Entry, work: &W) {
        let error = match caught(|| work.encode()) {
            Ok(None) => return,
            Ok(Some(Ok(payload))) => return entry.set_payload(payload),
            Ok(Some(Err(error))) => error.into(),
            Err(panic) => panic,
        };
        let subject = Subject::new(entry.name, entry.id);
        self.report(subject, JobEventKind::QueueFailed { error });
    }

    /// At the end of a shutdown: stops what has not ended. What can go to the queue is on its way there then, and is
    /// to be [ended](Self::end_left).
    pub(crate) fn stop(&self, has_queue: bool) -> Stopped {
        let mut abandoned = Vec::new();
        let mut leaving = Vec::new();
        let mut retries = Vec::new();
        let left_line;
        {
            let mut jobs = lock(&self.jobs);
            for (index, entry) in jobs.collector.open_entries() {
                if entry.step() == Step::Leaving {
                    continue;
                }
                retries.extend(entry.take_retry());
                // Whether one with a condition may run is known once it has.
                let may_leave = has_queue && (entry.attempts > 0 || entry.is_unconditional());
                match envelope(entry).filter(|_| may_leave) {
                    Some(envelope) => leaving.push((index, envelope)),
                    None => {
                        abandoned.push((index, UnfinishedJob { id: entry.id, name: entry.name.to_owned() }))
                    }
                }
            }
            // All at once, so that none of them starts because the one before it was stopped.
            let waiting = jobs.collector.waiting();
            for index in
                leaving.iter().map(|(index, _)| *index).chain(abandoned.iter().map(|(index, _)| *index))
            {
                if jobs.collector.step(index, Step::Leaving) == Some(Step::Running) {
                    self.runner.counters().stopped();
                }
            }
            let stopped = waiting - jobs.collector.waiting();
            left_line = jobs.left_line(stopped);
        }
        left_line.apply(self);
        self.abort();
        retries.iter().for_each(AbortHandle::abort);
        let abandoned = abandoned.into_iter().map(|(index, job)| {
            self.end_left(index, false);
            job
        });
        Stopped { abandoned: abandoned.collect(), leaving }
    }

    /// Ends a job that was on its way out: the queue has it, or nobody.
    pub(crate) fn end_left(&self, index: usize, queued: bool) {
        let (how, event) = if queued {
            (Final::HandedOver, JobEventKind::Queued)
        } else {
            (Final::Abandoned, JobEventKind::Abandoned)
        };
        self.end_from(index, |step| step == Step::Leaving, how, event);
    }

    pub(crate) fn abandon(&self, index: usize) -> bool {
        self.end(index, Final::Abandoned, JobEventKind::Abandoned)
    }

    /// Drops the job that runs and those that wait, as far as they can be stopped.
    fn abort(&self) {
        let (worker, lines) = {
            let mut jobs = lock(&self.jobs);
            jobs.workers = jobs.workers.wrapping_add(1);
            let lines: Vec<_> = std::iter::from_fn(|| jobs.collector.take_line()).collect();
            (jobs.worker.take(), lines)
        };
        if let Some(worker) = worker {
            worker.abort();
        }
        lines.into_iter().for_each(drop_quietly);
    }

    /// The worker is gone: with a runtime that was dropped, or aborted. Jobs between two tries are not its.
    pub(crate) fn worker_gone(&self) {
        let lost: Vec<usize> = {
            let mut jobs = lock(&self.jobs);
            jobs.workerless();
            jobs.collector
                .open_entries()
                .filter(|(_, entry)| !matches!(entry.step(), Step::Backoff | Step::Leaving))
                .map(|(index, _)| index)
                .collect()
        };
        self.abort();
        for index in lost {
            self.abandon(index);
        }
    }
}

fn envelope(entry: &Entry) -> Option<Envelope> {
    entry.payload().map(|payload| Envelope {
        id: entry.id,
        name: entry.name.to_owned(),
        policy: *entry.policy,
        payload: payload.to_vec(),
    })
}
