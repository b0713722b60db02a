//! Jobs that leave their request's line as soon as the response is over.

use std::sync::Arc;

use super::{
    list::{JobList, RunSegment},
    state::State,
};

/// A job that has left its line.
pub(super) struct Beside {
    index: usize,
    job: Box<dyn RunSegment>,
    /// It takes room until it starts.
    has_room: bool,
}

impl JobList {
    /// The response is over: lets the jobs leave that do.
    pub(super) fn begin_beside(self: &Arc<Self>) {
        let beside = self.transition(|state| {
            let waiting = state.waiting_entries().filter(|(_, entry)| entry.leaves_line());
            let waiting: Vec<usize> = waiting.map(|(index, _)| index).collect();
            waiting.into_iter().filter_map(|index| split(state, index)).collect::<Vec<_>>()
        });
        beside.into_iter().for_each(|beside| beside.run(self));
    }
}

/// Takes a job out of the line. `None` if it has started, or is for the queue.
pub(super) fn split(state: &mut State<Box<dyn RunSegment>>, index: usize) -> Option<Beside> {
    let (job, room) = state.leave_line(index, |segment| segment.split(index))?;
    Some(Beside { index, job, has_room: room > 0 })
}

impl Beside {
    pub(super) fn run(self, list: &Arc<JobList>) {
        self.job.run_beside(list, self.index, self.has_room);
    }
}
