//! Random plans of a request's behavior.

use std::sync::Arc;

use proptest::prelude::*;

/// The behavior of a handler.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) jobs: Vec<Work>,
    /// The requests that it makes within this process, one after another.
    pub(super) asks: Vec<Ask>,
    pub(super) answer: Answer,
}

/// The behavior of a job.
#[derive(Clone, Debug)]
pub(super) enum Work {
    Nothing,
    Yields,
    /// Fails, is retried, and fails permanently.
    Fails,
    /// Defers this many more jobs.
    Defers(usize),
    /// Opens this many scopes on its own runner, one after another. Each defers this many jobs.
    Scopes(usize, usize),
    Asks(Ask),
}

/// A request made within this process.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) plan: Arc<Plan>,
    pub(super) then: Then,
}

/// The use of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Read,
    Drop,
    /// Dropped once the client has done everything else.
    Keep,
}

/// The source of a request's answer.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Whole,
    /// A stream of this many events, each of which defers a job.
    Events(usize),
    /// A stream of this many events, each of which makes this request.
    AskingEvents(usize, Ask),
    /// Another handler, which gets the same request.
    Forwarded(Arc<Plan>),
}

/// Generates a plan with nested requests, at most this deep.
pub(super) fn plan(depth: usize) -> BoxedStrategy<Arc<Plan>> {
    let plain = prop_oneof![
        4 => Just(Work::Nothing),
        1 => Just(Work::Yields),
        1 => Just(Work::Fails),
        1 => (1..3_usize).prop_map(Work::Defers),
        1 => (1..3_usize, 1..3_usize).prop_map(|(scopes, jobs)| Work::Scopes(scopes, jobs)),
    ];
    let answer = prop_oneof![3 => Just(Answer::Whole), 1 => (1..4_usize).prop_map(Answer::Events)];
    if depth == 0 {
        let jobs = prop::collection::vec(plain, 0..4);
        let plan = (jobs, answer).prop_map(|(jobs, answer)| Plan { jobs, asks: Vec::new(), answer });
        return plan.prop_map(Arc::new).boxed();
    }
    let then = prop_oneof![Just(Then::Read), Just(Then::Drop), Just(Then::Keep)];
    let ask = (plan(depth - 1), then).prop_map(|(plan, then)| Ask { plan, then }).boxed();
    let work = prop_oneof![5 => plain, 1 => ask.clone().prop_map(Work::Asks)];
    let answer = prop_oneof![
        4 => answer,
        1 => (1..4_usize, ask.clone()).prop_map(|(events, ask)| Answer::AskingEvents(events, ask)),
        1 => plan(depth - 1).prop_map(Answer::Forwarded),
    ];
    let jobs = prop::collection::vec(work, 0..4);
    let asks = prop::collection::vec(ask, 0..3);
    let plan = (jobs, asks, answer).prop_map(|(jobs, asks, answer)| Plan { jobs, asks, answer });
    plan.prop_map(Arc::new).boxed()
}

impl Plan {
    /// Returns the number of jobs if all of them run. Between two layers there is a middleware that defers one.
    pub(super) fn jobs_in_all(&self, then: Then, layers: usize) -> u64 {
        let between = layers as u64 - 1;
        let jobs: u64 = self.jobs.iter().map(|work| 1 + work.further_jobs(layers)).sum();
        let asks: u64 = self.asks.iter().map(|ask| ask.jobs_in_all(layers)).sum();
        let answer = match &self.answer {
            Answer::Forwarded(plan) => plan.jobs_in_all(then, layers),
            Answer::Events(events) if then == Then::Read => *events as u64,
            Answer::AskingEvents(events, ask) if then == Then::Read => {
                *events as u64 * ask.jobs_in_all(layers)
            }
            _ => 0,
        };
        between + jobs + asks + answer
    }

    /// Returns the number of those that fail.
    pub(super) fn failing_in_all(&self, then: Then) -> u64 {
        let jobs: u64 = self.jobs.iter().map(Work::failing_in_all).sum();
        let asks: u64 = self.asks.iter().map(Ask::failing_in_all).sum();
        let answer = match &self.answer {
            Answer::Forwarded(plan) => plan.failing_in_all(then),
            Answer::AskingEvents(events, ask) if then == Then::Read => *events as u64 * ask.failing_in_all(),
            _ => 0,
        };
        jobs + asks + answer
    }
}

impl Work {
    fn further_jobs(&self, layers: usize) -> u64 {
        match self {
            Self::Nothing | Self::Yields | Self::Fails => 0,
            Self::Defers(jobs) => *jobs as u64,
            Self::Scopes(scopes, jobs) => (scopes * jobs) as u64,
            Self::Asks(ask) => ask.jobs_in_all(layers),
        }
    }

    fn failing_in_all(&self) -> u64 {
        match self {
            Self::Fails => 1,
            Self::Asks(ask) => ask.failing_in_all(),
            _ => 0,
        }
    }
}

impl Ask {
    fn jobs_in_all(&self, layers: usize) -> u64 {
        self.plan.jobs_in_all(self.then, layers)
    }

    fn failing_in_all(&self) -> u64 {
        self.plan.failing_in_all(self.then)
    }
}
