//! A job that has not ended, as others see it.

use http::StatusCode;

use super::{
    list::JobList,
    open_state::{OpenState, Standing},
};
use crate::{
    model::{
        id::JobId,
        progress::Progress,
        response::{Delivery, ResponseInfo},
    },
    primitives::timestamp::Timestamp,
};

/// A job of a runner that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenJob {
    /// The job's id.
    pub id: JobId,
    /// The job's name.
    pub name: &'static str,
    /// Whether it waits, and for what, or since when it runs.
    pub state: OpenState,
    /// How many attempts it has had. One that runs is among them.
    pub attempts: u32,
    /// How many it may have.
    pub tries: u32,
    /// The request that deferred it, by its method and its route's pattern, such as `POST /signup`.
    pub route: Option<String>,
    /// The id of that request, if the layer was told to capture its header `x-request-id`.
    pub request_id: Option<String>,
    /// The status of the response, if that has ended.
    pub status: Option<StatusCode>,
    /// How the response ended, if it has.
    pub delivery: Option<Delivery>,
    /// How far its attempt says that it is, where one job was asked for and the runner
    /// [keeps outcomes](crate::RunnerBuilder::keep_outcomes).
    pub progress: Option<Progress>,
}

impl JobList {
    /// Adds the jobs that have not ended and of which this holds.
    pub(crate) fn add_open(&self, is_wanted: impl Fn(JobId, OpenState) -> bool, open: &mut Vec<OpenJob>) {
        let now = Timestamp::now();
        let found: Vec<Standing> = {
            let mut locked = self.lock();
            locked.state.standing(now).filter(|found| is_wanted(found.job.id, found.state)).collect()
        };
        open.extend(found.into_iter().map(|Standing { job, tries, state }| OpenJob {
            id: job.id,
            name: job.name(),
            state,
            attempts: job.attempt,
            tries,
            route: self.route(),
            request_id: self.request_id(),
            status: self.response().and_then(ResponseInfo::status),
            delivery: self.response().map(ResponseInfo::delivery),
            progress: None,
        }));
    }

    /// Returns whether this is the list of the request with this id.
    pub(crate) fn is_of_request(&self, request_id: &str) -> bool {
        self.request_id().is_some_and(|id| id == request_id)
    }
}
