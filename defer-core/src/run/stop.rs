//! Stops what has not ended, and leaves to the queue what it can take.

use crate::{
    list::{entry::JobState, list::JobList, state::HandedOver},
    model::job_type::JobRef,
    observe::{event::JobEventKind, hooks::Times, stats::Final},
    primitives::panic::drop_some,
};

/// Jobs that were stopped.
#[derive(Default)]
pub(crate) struct Stopped {
    pub(crate) abandoned: Vec<JobRef>,
    /// Those that the queue can take. [`end_handover`] must follow for each.
    pub(crate) handed_over: Vec<HandedOver>,
}

/// Stops every job of a list that has not ended.
pub(crate) fn stop(list: &JobList, has_queue: bool) -> Stopped {
    let mut stopped = Stopped::default();
    list.abandon_with(|state, effects| {
        stopped.handed_over = state.stop(has_queue, effects);
        stopped.abandoned = effects.ended.iter().map(|ended| ended.job).collect();
    });
    for HandedOver { job, envelope, .. } in &mut stopped.handed_over {
        let Some(envelope) = envelope else { continue };
        envelope.status = list.status_for_queue();
        if let Err(error) = list.add_metadata(envelope) {
            // On the queue it asks in vain for the extensions of its request, and says so.
            list.report(*job, &JobEventKind::QueueFailed { error }, Times::default());
        }
    }
    stopped
}

/// Ends a job that was handed over: as queued, or as abandoned if the queue did not take it.
pub(crate) fn end_handover(list: &JobList, index: usize, queued: bool) {
    let from = |state| state == JobState::HandedOver;
    if !queued {
        list.end_with(&JobEventKind::Abandoned, |locked, effects| locked.state.end(index, from, effects));
        return;
    }
    let mut ended = None;
    list.end_with(&JobEventKind::Queued, |locked, effects| {
        locked.state.end(index, from, effects);
        ended = effects.ended.pop();
    });
    if let Some(ended) = ended {
        // A task that waits for the job's end learns that it was stopped: its observer is dropped unused.
        let job = ended.job;
        drop_some(ended.extras);
        list.count(job, &JobEventKind::Queued, Final::HandedOver, Times::default());
    }
}
