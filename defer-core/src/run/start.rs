//! Prepares an attempt when it starts.

use std::{pin::Pin, sync::Arc};

use super::attempt::Limit;
use crate::{
    list::list::JobList,
    model::{error::JobError, job_type::JobRef},
    observe::{event::JobEventKind, span::JobSpan},
    primitives::{timer::NoTimer, timestamp::Timestamp},
};

/// An attempt that has started.
pub(super) struct Started {
    pub(super) job: JobRef,
    /// When, if a hook or a subscriber may want to know.
    pub(super) at: Option<Timestamp>,
    pub(super) span: JobSpan,
    pub(super) limit: Limited,
}

/// An attempt's timeout.
pub(super) enum Limited {
    By(Option<Pin<Box<Limit>>>),
    /// It has one, and the runtime has no timer: it fails with [`no_timer`].
    NoTimer,
}

/// Returns the error of an attempt that needs a timer, on a runtime without.
#[cold]
pub(super) fn no_timer() -> JobError {
    JobError::from(NoTimer).fatal()
}

/// Reports that an attempt has started. Gives back the room of this many jobs.
#[inline]
pub(super) fn started(list: &Arc<JobList>, index: usize, job: JobRef, room: usize) -> Started {
    list.give_back_room(room);
    Started {
        job,
        at: list.is_observed().then(|| report_start(list, index, job)),
        span: list.span(job),
        limit: match job.policy().timeout().map(Limit::new).transpose() {
            Ok(limit) => Limited::By(limit),
            Err(NoTimer) => Limited::NoTimer,
        },
    }
}

#[cold]
fn report_start(list: &JobList, index: usize, job: JobRef) -> Timestamp {
    let now = Timestamp::now();
    list.lock().state.set_started(index, now);
    if list.engine.config.hooks.has_users() {
        list.tell(job, &JobEventKind::Started, || list.lock().state.waited(index));
    }
    now
}
