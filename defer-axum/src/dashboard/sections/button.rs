//! Buttons, and the questions they ask before an action.

use askama::Template;

use crate::dashboard::queue::action::{Action, Done, Group, Verb};
use defer_core::Cancel;

/// A button that leads to a question. Without a script, the question is a separate page.
#[derive(Clone, Template)]
#[template(path = "dashboard/button.html")]
pub(crate) struct Button {
    pub(super) verb: Verb,
    /// The target of the action, as fields of the form.
    pub(super) fields: Vec<(&'static str, String)>,
    /// The target of the action, in words.
    about: String,
}

impl Button {
    /// Creates the button of a job.
    pub(super) fn of_job(verb: Verb, name: &str, id: &str) -> Self {
        Self { verb, fields: vec![("id", id.to_owned())], about: format!("{name} {id}") }
    }

    /// Creates the button of a group of failed jobs.
    pub(super) fn of_group(verb: Verb, name: &str, key: &str, count: u64) -> Self {
        let about = if count == 1 { format!("1 failed {name}") } else { format!("{count} failed {name}") };
        Self { verb, fields: vec![("group", key.to_owned())], about }
    }

    /// Creates the button of all jobs with this name.
    pub(super) fn of_type(verb: Verb, name: &str) -> Self {
        Self { verb, fields: vec![("name", name.to_owned())], about: format!("the jobs {name}") }
    }

    /// Creates the button of an action about which nothing more is known.
    pub(super) fn of(action: &Action, group_key: &str) -> Self {
        let verb = action.verb();
        match action {
            Action::Retry(id) | Action::Discard(id) | Action::Cancel(id) => {
                Self::of_job(verb, "the job", &id.to_string())
            }
            Action::RetryGroup(Group { name, .. }) | Action::DiscardGroup(Group { name, .. }) => Self {
                verb,
                fields: vec![("group", group_key.to_owned())],
                about: format!("this group of failed {name}"),
            },
            Action::Pause(name) | Action::Resume(name) => Self::of_type(verb, name),
        }
    }

    pub(super) fn label(&self) -> &'static str {
        self.verb.label()
    }

    pub(super) fn question(&self) -> String {
        let about = &self.about;
        match self.verb {
            Verb::Retry | Verb::RetryGroup => format!("Retry {about}, with all attempts?"),
            Verb::Discard | Verb::DiscardGroup => {
                format!("Discard {about}? The queue forgets what it discards.")
            }
            Verb::Cancel => format!("Cancel {about}? If it is running, it stops at its next await."),
            Verb::Pause => {
                format!("Pause {about}, in every process? Running ones go on, no other starts.")
            }
            Verb::Resume => format!("Resume {about}?"),
        }
    }
}

impl Verb {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Discard => "discard",
            Self::Cancel => "cancel",
            Self::RetryGroup => "retry_group",
            Self::DiscardGroup => "discard_group",
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Retry => "Retry",
            Self::Discard => "Discard",
            Self::Cancel => "Cancel",
            Self::RetryGroup => "Retry all",
            Self::DiscardGroup => "Discard all",
            Self::Pause => "Pause",
            Self::Resume => "Resume",
        }
    }
}

/// Returns the text for an action that was performed. An error says why nothing was done.
pub(crate) fn outcome(verb: Verb, done: Done) -> Result<String, &'static str> {
    const NONE: &str = "The queue has no such failed job. It may have been retried or discarded meanwhile.";
    let jobs = |count, what: &str| match count {
        0 => Err(NONE),
        1 => Ok(format!("1 job {what}.")),
        _ => Ok(format!("{count} jobs {what}.")),
    };
    match (verb, done) {
        (Verb::Retry | Verb::RetryGroup, Done::Jobs(count)) => jobs(count, "will run again"),
        (_, Done::Jobs(count)) => jobs(count, "discarded"),
        (_, Done::Cancel(Cancel::Cancelled)) => Ok("The job is cancelled.".to_owned()),
        (_, Done::Cancel(Cancel::Asked)) => Ok("The job is running, and was told to stop.".to_owned()),
        (_, Done::Cancel(Cancel::Ended)) => Err("The job has ended."),
        (_, Done::Cancel(Cancel::Failed)) => {
            Err("The queue could not be reached, or cannot cancel. The job may be cancelled or not.")
        }
        (_, Done::Cancel(_)) => Err("There is no such job, or no longer."),
        (Verb::Pause, Done::Yes) => Ok("Paused.".to_owned()),
        (_, Done::Yes) => Ok("Resumed.".to_owned()),
    }
}
