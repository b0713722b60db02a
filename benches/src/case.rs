//! A measured case: how many jobs, and how they are run.

use std::{fmt, str::FromStr};

use axum::{
    Router,
    response::IntoResponse,
    routing::{MethodRouter, get},
};
use defer_axum::{DeferLayer, Runner, defer_fn};
use tower::layer::util::Identity;

use crate::job::{Count, CountToo, Tally};

/// The work of a handler besides answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Gives its jobs to `tokio::spawn`; the router is under an identity layer.
    Spawn,
    /// Defers its jobs, all of one type; the router is under a `DeferLayer`.
    Defer,
    /// Defers closures.
    Closure,
    /// Defers jobs of two types in turn.
    Mixed,
}

impl Way {
    /// Every way there is.
    pub const ALL: [Self; 4] = [Self::Spawn, Self::Defer, Self::Closure, Self::Mixed];
}

/// A request to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// How the jobs are run.
    pub way: Way,
    /// How many there are.
    pub jobs: u64,
}

impl Case {
    /// A request with this many jobs.
    pub const fn new(way: Way, jobs: u64) -> Self {
        Self { way, jobs }
    }

    /// Spawns or defers the jobs. In a runtime, and for those that are deferred, in a scope.
    pub(crate) fn give(self, tally: &'static Tally) {
        let jobs = 0..self.jobs;
        match self.way {
            Way::Spawn => jobs.for_each(|_| drop(tokio::spawn(tally.count()))),
            Way::Defer => jobs.for_each(|_| drop(Count::defer(tally))),
            Way::Closure => jobs.for_each(|_| drop(defer_fn(|_cx| tally.count()))),
            Way::Mixed => jobs.for_each(|n| {
                drop(if n % 2 == 0 { Count::defer(tally) } else { CountToo::defer(tally) });
            }),
        }
    }

    fn handler<A: IntoResponse>(
        self,
        tally: &'static Tally,
        answer: impl Fn() -> A + Clone + Send + Sync + 'static,
    ) -> MethodRouter {
        // A handler mostly holds nothing, and what it holds is moved with every request.
        let given: &'static _ = Box::leak(Box::new((self, tally)));
        get(async move || {
            let (case, tally) = given;
            case.give(tally);
            answer()
        })
    }

    /// The router, under the layer that is measured or one that does nothing.
    pub(crate) fn app<A: IntoResponse>(
        self,
        runner: &Runner,
        tally: &'static Tally,
        answer: impl Fn() -> A + Clone + Send + Sync + 'static,
    ) -> Router {
        let router = Router::new().route("/items/{id}", self.handler(tally, answer));
        let router = match self.way {
            Way::Spawn => router.layer(Identity::new()),
            _ => router.layer(DeferLayer::new(runner.clone())),
        };
        // As a server does: without it each request would make its handler's service anew.
        router.with_state(())
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}:{}", self.way, self.jobs)
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let (way, jobs) = s.split_once(':').ok_or_else(|| format!("`{s}` is not `way:jobs`"))?;
        let way = Way::ALL.into_iter().find(|known| format!("{known:?}") == way);
        match (way, jobs.parse()) {
            (Some(way), Ok(jobs)) => Ok(Self { way, jobs }),
            _ => Err(format!("`{s}` is no case")),
        }
    }
}
