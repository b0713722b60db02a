//! The record of a job's latest attempt.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use defer_core::{Delivery, JobId, event::JobEvent};
use http::{Method, StatusCode};
use serde::{Serialize, Serializer};

use super::outcome::Outcome;

/// The number of errors to keep for a run: those of its latest attempts.
const ERRORS: usize = 5;

/// A job's latest attempt, or how it ended without one. Kept small, because there are many.
#[derive(Clone)]
pub(crate) struct Run {
    /// Later runs have higher numbers.
    pub(crate) number: u64,
    pub(crate) name: &'static str,
    pub(crate) id: JobId,
    pub(crate) outcome: Outcome,
    /// 0 if it ended without an attempt.
    pub(crate) attempt: u32,
    /// Since the journal was created.
    pub(crate) at: Duration,
    pub(crate) ended_at: SystemTime,
    pub(crate) waited: Option<f32>,
    pub(crate) ran: Option<f32>,
    /// Shared with the previous run, if that has the same route.
    pub(crate) route: Option<Arc<str>>,
    pub(crate) request_id: Option<Box<str>>,
    pub(crate) status: Option<StatusCode>,
    pub(crate) delivery: Option<Delivery>,
    pub(crate) errors: Vec<AttemptError>,
}

/// The error of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct AttemptError {
    pub(crate) attempt: u32,
    /// Shared by attempts with the same error.
    #[serde(serialize_with = "as_text")]
    pub(crate) error: Arc<str>,
}

fn as_text<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

/// The end of an attempt, or of a job without one.
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    pub(super) at: Duration,
    pub(super) ran: Option<Duration>,
}

impl Run {
    /// Creates the record of a run. It shares its route with the previous one, if they are equal.
    pub(super) fn new(
        number: u64,
        event: &JobEvent,
        Ended { outcome, at, ran }: &Ended,
        previous: Option<&Self>,
    ) -> Self {
        Self {
            number,
            name: event.name(),
            id: event.id(),
            outcome: *outcome,
            attempt: event.attempt(),
            at: *at,
            // Not computed from the journal's creation, because the clock may have been set since.
            ended_at: SystemTime::now(),
            waited: event.wait().map(|waited| waited.as_secs_f32()),
            ran: ran.map(|ran| ran.as_secs_f32()),
            route: event.method().map(|method| {
                let path = event.matched_path();
                let known = previous.and_then(|previous| previous.route.as_ref());
                let known = known.filter(|route| is_route(route, method, path));
                known.cloned().unwrap_or_else(|| route(method, path))
            }),
            request_id: event.request_id().map(Box::from),
            status: event.status(),
            delivery: event.delivery(),
            errors: Vec::new(),
        }
    }

    pub(super) fn add_error(&mut self, error: &str) {
        if self.errors.len() == ERRORS {
            self.errors.remove(0);
        }
        let same = self.errors.iter().find(|known| *known.error == *error).map(|known| known.error.clone());
        self.errors.reserve_exact(1);
        self.errors.push(AttemptError { attempt: self.attempt, error: same.unwrap_or_else(|| error.into()) });
    }

    /// Shares equal errors with another run.
    pub(super) fn share_errors(&mut self, other: &Self) {
        for error in &mut self.errors {
            if let Some(same) = other.errors.iter().find(|known| known.error == error.error) {
                error.error = same.error.clone();
            }
        }
    }
}

fn route(method: &Method, path: Option<&str>) -> Arc<str> {
    match path {
        Some(path) => format!("{method} {path}").into(),
        None => method.as_str().into(),
    }
}

/// Returns whether this is the route, without writing it.
fn is_route(known: &str, method: &Method, path: Option<&str>) -> bool {
    let rest = known.strip_prefix(method.as_str());
    rest.is_some_and(|rest| rest.strip_prefix(' ') == path && (path.is_some() || rest.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_equal_to_what_is_written_of_it_and_to_nothing_else() {
        let of = |method: &str, path| (Method::from_bytes(method.as_bytes()).expect("a method"), path);
        let routes = [
            of("GET", Some("/a")),
            of("GET", Some("/ab")),
            of("GET", Some("")),
            of("GET", None),
            of("GETS", None),
            of("POST", Some("/a")),
        ];
        for (method, path) in &routes {
            let known = route(method, *path);
            for other in &routes {
                assert_eq!(
                    is_route(&known, &other.0, other.1),
                    (method, path) == (&other.0, &other.1),
                    "{known}"
                );
            }
        }
    }
}
