//! The actions of an operator.

use defer_core::{BoxError, Cancel, JobId, Runner};
use serde::Deserialize;

use super::answer::{answer_of, inspectable};

/// An action of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verb {
    Retry,
    Discard,
    Cancel,
    RetryGroup,
    DiscardGroup,
    Pause,
    Resume,
}

/// An action, and what it is done to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Retry(JobId),
    Discard(JobId),
    Cancel(JobId),
    /// Retries the failed jobs with this name whose error begins with this line.
    RetryGroup(Group),
    DiscardGroup(Group),
    /// Of the jobs with this name.
    Pause(String),
    Resume(String),
}

/// Failed jobs with this name whose error begins with this line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) error: String,
}

/// The result of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// It was done to so many jobs.
    Jobs(u64),
    Cancel(Cancel),
    Yes,
}

impl Action {
    pub(crate) fn verb(&self) -> Verb {
        match self {
            Self::Retry(_) => Verb::Retry,
            Self::Discard(_) => Verb::Discard,
            Self::Cancel(_) => Verb::Cancel,
            Self::RetryGroup(_) => Verb::RetryGroup,
            Self::DiscardGroup(_) => Verb::DiscardGroup,
            Self::Pause(_) => Verb::Pause,
            Self::Resume(_) => Verb::Resume,
        }
    }

    /// Acts and logs the action, even if the caller is dropped. Takes at most as long as the queue may. If that fails, returns what
    /// to tell the operator.
    pub(crate) async fn perform(&self, runner: &Runner, operator: String) -> Result<Done, &'static str> {
        let (action, asked, runner) = (self.clone(), self.clone(), runner.clone());
        let answer = answer_of(async move { asked.on(&runner).await });
        // Also if the queue does not answer in time: it may do it nevertheless.
        let logged = async move {
            let done = answer.await;
            action.log(&operator, done.as_ref().ok());
            done
        };
        tokio::spawn(logged).await.unwrap_or(Err("It may be done or not: what logs it has panicked."))
    }

    /// Logs who did what, and what came of it. Not the error of a group, which may hold personal data.
    fn log(&self, operator: &str, done: Option<&Done>) {
        let verb = self.verb();
        match self {
            Self::Retry(id) | Self::Discard(id) | Self::Cancel(id) => {
                tracing::info!(target: "defer", operator, ?verb, %id, ?done, "somebody acted on the dashboard");
            }
            Self::RetryGroup(Group { name, .. })
            | Self::DiscardGroup(Group { name, .. })
            | Self::Pause(name)
            | Self::Resume(name) => {
                tracing::info!(target: "defer", operator, ?verb, job = ?name, ?done, "somebody acted on the dashboard");
            }
        }
    }

    async fn on(&self, runner: &Runner) -> Result<Done, BoxError> {
        Ok(match (self, inspectable(runner)) {
            (Self::Cancel(id), _) => Done::Cancel(runner.cancel(*id).await),
            (_, None) => Done::Jobs(0),
            (Self::Retry(id), Some(queue)) => Done::Jobs(queue.retry(*id).await?.into()),
            (Self::Discard(id), Some(queue)) => Done::Jobs(queue.discard(*id).await?.into()),
            (Self::RetryGroup(Group { name, error }), Some(queue)) => {
                Done::Jobs(queue.retry_all(name, error).await?)
            }
            (Self::DiscardGroup(Group { name, error }), Some(queue)) => {
                Done::Jobs(queue.discard_all(name, error).await?)
            }
            (Self::Pause(name), Some(queue)) => {
                queue.pause(name).await?;
                Done::Yes
            }
            (Self::Resume(name), Some(queue)) => {
                queue.resume(name).await?;
                Done::Yes
            }
        })
    }
}
