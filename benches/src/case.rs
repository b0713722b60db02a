//! A measured case: the number of jobs, and the way they run.

use std::{fmt, str::FromStr};

use axum::{
    Router,
    response::IntoResponse,
    routing::{MethodRouter, get},
};
use defer_axum::{DeferLayer, Runner, defer_fn};
use tower::layer::util::Identity;

use crate::job::{Count, CountToo, Tally};

/// The way in which a handler runs its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Spawns its jobs with `tokio::spawn`. The router is under an identity layer.
    Spawn,
    /// Defers its jobs, all of one type. The router is under a `DeferLayer`.
    Defer,
    /// Defers closures.
    Closure,
    /// Defers jobs of two alternating types.
    Mixed,
}

impl Way {
    /// Every way.
    pub const ALL: [Self; 4] = [Self::Spawn, Self::Defer, Self::Closure, Self::Mixed];
}

/// A request to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// The way in which the jobs run.
    pub way: Way,
    /// The number of jobs.
    pub jobs: u64,
}

impl Case {
    /// A request with this many jobs.
    pub const fn new(way: Way, jobs: u64) -> Self {
        Self { way, jobs }
    }

    /// Spawns or defers the jobs. Needs a runtime, and a scope if it defers.
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
        // A typical handler holds nothing, and what it holds is moved with every request.
        let given: &'static _ = Box::leak(Box::new((self, tally)));
        get(async move || {
            let (case, tally) = given;
            case.give(tally);
            answer()
        })
    }

    /// Returns the router, under the measured layer or one that does nothing.
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
        // Servers do this. Without it, each request would make its handler's service anew.
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
