//! An operator's actions.

use defer_core::{BoxError, Cancel, JobId, Runner};
use serde::Deserialize;

use super::answer::{answer_of, inspectable};

/// The kind of an action.
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

/// An action and its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Retry(JobId),
    Discard(JobId),
    Cancel(JobId),
    /// Retries the failed jobs with this name whose error begins with this line.
    RetryGroup(Group),
    DiscardGroup(Group),
    /// Pauses the jobs with this name.
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
    /// It affected this many jobs.
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

    /// Performs the action and logs it, even if the caller is dropped. Takes no longer than the queue may. On failure,
    /// returns the text for the operator.
    pub(crate) async fn perform(&self, runner: &Runner, operator: String) -> Result<Done, &'static str> {
        let (action, asked, runner) = (self.clone(), self.clone(), runner.clone());
        let answer = answer_of(async move { asked.on(&runner).await });
        // Logs it even if the queue does not reply in time, because the queue may still perform it.
        let logged = async move {
            let done = answer.await;
            action.log(&operator, done.as_ref().ok());
            done
        };
        tokio::spawn(logged).await.unwrap_or(Err("It may be done or not: what logs it has panicked."))
    }

    /// Logs the operator, the action and its result. Leaves out the error of a group, which may contain personal data.
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
