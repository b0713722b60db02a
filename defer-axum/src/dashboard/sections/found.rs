//! One job, by its id, or the jobs of a request, by its id.

use askama::Template;
use defer_core::{
    JobId, OpenJob, OpenState,
    queue::{QueuedJob, QueuedState},
};
use serde::Serialize;

use super::{
    button::Button,
    format::Span,
    moment::Moment,
    runs::RunRow,
    section::{Row, Section},
    view::View,
};
use crate::dashboard::{
    memory::{outcome::Outcome, run::AttemptError},
    queue::action::Verb,
};

/// The jobs that a search has found.
#[derive(Default, Serialize)]
pub(crate) struct Found {
    /// The id that was searched for.
    id: String,
    jobs: Vec<FoundJob>,
}

#[derive(Serialize)]
struct FoundJob {
    id: String,
    name: String,
    /// Its state, in words.
    state: String,
    /// The state's CSS class.
    kind: &'static str,
    facts: Vec<Fact>,
    errors: Vec<AttemptError>,
    #[serde(skip)]
    verbs: Vec<Verb>,
}

/// A fact about a job.
#[derive(Serialize)]
struct Fact {
    what: &'static str,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Moment>,
    /// The query that it links to.
    #[serde(skip)]
    link: Option<String>,
}

/// The sources of facts about a job.
#[derive(Default)]
pub(super) struct Sources {
    pub(super) open: Vec<OpenJob>,
    pub(super) stored: Option<QueuedJob>,
    /// The runs, the newest first.
    pub(super) runs: Vec<RunRow>,
}

#[derive(Template)]
#[template(path = "dashboard/found.html")]
struct Frame<'a> {
    found: &'a Found,
}

#[derive(Template)]
#[template(path = "dashboard/found_row.html")]
struct RowHtml<'a> {
    job: &'a FoundJob,
    buttons: Vec<Button>,
}

impl Found {
    pub(super) fn new(id: &str, sources: Sources, hides_errors: bool) -> Self {
        let Sources { open, stored, runs } = sources;
        let mut jobs: Vec<FoundJob> = open.iter().map(FoundJob::of_open).collect();
        if let Some(stored) = &stored {
            let id = stored.id.to_string();
            match jobs.iter_mut().find(|job| job.id == id) {
                Some(job) => job.add_stored(stored),
                None => jobs.push(FoundJob::of_stored(stored)),
            }
        }
        for run in &runs {
            match jobs.iter_mut().find(|job| job.id == run.id) {
                Some(job) => job.add_run(run),
                None => jobs.push(FoundJob::of_run(run)),
            }
        }
        for job in &mut jobs {
            job.facts.dedup_by(|a, b| a.what == b.what && a.text == b.text);
            if hides_errors {
                job.errors.clear();
            }
        }
        Self { id: id.to_owned(), jobs }
    }

    pub(super) fn section(&self, has_actions: bool) -> askama::Result<Section> {
        let rows = self.jobs.iter().map(|job| {
            let verbs = job.verbs.iter().filter(|_| has_actions);
            let buttons = verbs.map(|verb| Button::of_job(*verb, &job.name, &job.id)).collect();
            Row::new(&*job.id, &RowHtml { job, buttons })
        });
        Section::new("found", &Frame { found: self }, rows)
    }
}

impl FoundJob {
    fn new(id: JobId, name: &str, state: impl Into<String>, kind: &'static str) -> Self {
        Self {
            id: id.to_string(),
            name: name.to_owned(),
            state: state.into(),
            kind,
            facts: Vec::new(),
            errors: Vec::new(),
            verbs: Vec::new(),
        }
    }

    fn of_open(job: &OpenJob) -> Self {
        let kind = if matches!(job.state, OpenState::Retrying { .. }) { "warning" } else { "other" };
        let mut found = Self::new(job.id, job.name, describe(job.state), kind);
        found.verbs.push(Verb::Cancel);
        found.say("Attempts", format!("{} of {}", job.attempts, job.tries));
        if let Some(progress) = &job.progress {
            found.say("Progress", progress.json());
        }
        found.say_request(job.route.as_deref(), job.request_id.as_deref());
        found.say_response(
            job.status.map(|status| status.as_u16()),
            job.delivery.map(|delivery| delivery.as_str()),
        );
        found
    }

    fn of_stored(job: &QueuedJob) -> Self {
        let kind = match job.state {
            QueuedState::Done => "good",
            QueuedState::Failed => "bad",
            QueuedState::Retrying => "warning",
            _ => "other",
        };
        let mut found = Self::new(job.id, &job.name, format!("{} in the queue", job.state.as_str()), kind);
        match job.state {
            QueuedState::Failed => found.verbs.extend([Verb::Retry, Verb::Discard]),
            QueuedState::Done | QueuedState::Skipped | QueuedState::Cancelled | QueuedState::Duplicate => {}
            _ => found.verbs.push(Verb::Cancel),
        }
        found.say("Attempts", job.attempts.to_string());
        found.add_stored(job);
        found.say_request(job.route.as_deref(), job.request_id.as_deref());
        found.say_response(
            job.status.map(|status| status.as_u16()),
            job.delivery.map(|delivery| delivery.as_str()),
        );
        found
    }

    fn of_run(run: &RunRow) -> Self {
        let label = if run.outcome == Outcome::Retrying {
            // Another process or a queue has the job now.
            "failed, to be retried"
        } else {
            run.outcome.label()
        };
        let id = run.id.parse().expect("it is that of a job");
        let mut found = Self::new(id, run.name, label, run.outcome.kind());
        found.add_run(run);
        found.say_request(run.route.as_deref(), run.request_id.as_deref());
        found.say_response(run.status, run.delivery);
        found
    }

    /// Adds the facts that only the queue knows.
    fn add_stored(&mut self, job: &QueuedJob) {
        let span = |time: std::time::Duration| Span(time.as_secs_f64()).to_string();
        self.say("In the queue", job.state.as_str());
        if let Some(due_in) = job.due_in {
            self.say("Next attempt", format!("in {}", span(due_in)));
        }
        if let Some(ready_for) = job.ready_for {
            self.say("Due", format!("for {}", span(ready_for)));
        }
        if let Some(process) = &job.process {
            self.say("Process", format!("{}, process {}", process.host, process.pid));
        }
        if let Some(progress) = &job.progress {
            self.say("Progress", progress.json());
        }
        if let Some(trace_id) = &job.trace_id {
            self.say("Trace", trace_id);
        }
        if let Some(age) = job.age {
            self.say_at("Stored", Moment::ago(age));
        }
        if let Some(ended) = job.ended {
            self.say_at("Ended", Moment::ago(ended));
        }
        if let Some(error) = &job.error {
            self.errors.push(AttemptError { attempt: job.attempts, error: error.as_str().into() });
        }
    }

    /// Adds the record of its last attempt here.
    fn add_run(&mut self, run: &RunRow) {
        let what = if run.attempt > 0 { "Last attempt here" } else { "Ended here" };
        let attempt = if run.attempt > 0 { format!("{}, ", run.attempt) } else { String::new() };
        self.facts.push(Fact {
            what,
            text: format!("{attempt}{}", run.outcome.label()),
            at: Some(run.at),
            link: None,
        });
        if let Some(seconds) = run.wait_seconds {
            self.say("It had waited", Span(seconds).to_string());
        }
        if let Some(seconds) = run.run_seconds {
            self.say("It ran", Span(seconds).to_string());
        }
        for error in &run.errors {
            if self.errors.iter().all(|known| known.attempt != error.attempt) {
                self.errors.push(error.clone());
            }
        }
        self.errors.sort_by_key(|error| error.attempt);
    }

    fn say_request(&mut self, route: Option<&str>, request_id: Option<&str>) {
        if let Some(route) = route {
            self.say("Request", route);
        }
        if let Some(request_id) = request_id {
            let link = Some(View::finding(request_id));
            self.facts.push(Fact { what: "Request id", text: request_id.to_owned(), at: None, link });
        }
    }

    fn say_response(&mut self, status: Option<u16>, delivery: Option<&str>) {
        let status = status.map(|status| status.to_string());
        let response: Vec<_> = [status.as_deref(), delivery].into_iter().flatten().collect();
        if !response.is_empty() {
            self.say("Response", response.join(", "));
        }
    }

    fn say(&mut self, what: &'static str, text: impl Into<String>) {
        self.facts.push(Fact { what, text: text.into(), at: None, link: None });
    }

    fn say_at(&mut self, what: &'static str, at: Moment) {
        self.facts.push(Fact { what, text: String::new(), at: Some(at), link: None });
    }
}

/// Returns the reason for which a job is waiting, in words.
fn describe(state: OpenState) -> String {
    let span = |time: std::time::Duration| Span(time.as_secs_f64()).to_string();
    match state {
        OpenState::Response => "waits for its response to be over".to_owned(),
        OpenState::Ready { waited: Some(waited), .. } => format!("waits for its turn, for {}", span(waited)),
        OpenState::Ready { .. } => "waits for its turn".to_owned(),
        OpenState::Delayed { due_in, .. } => format!("delayed, due in {}", span(due_in)),
        OpenState::Retrying { due_in, .. } => format!("between two attempts, next in {}", span(due_in)),
        OpenState::Running { elapsed: Some(elapsed), .. } => format!("runs, for {}", span(elapsed)),
        OpenState::Running { .. } => "runs".to_owned(),
        _ => "is on its way to the queue".to_owned(),
    }
}
