//! The requests that are measured, driven in process: no socket, no server, one thread.

use std::{
    fmt,
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering},
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{StatusCode, Uri},
    routing::{MethodRouter, get},
};
use bytes::Bytes;
use defer_axum::{DeferLayer, Deferrable, Job, JobContext, JobResult, Runner, defer_fn, scope};
use http_body_util::BodyExt;
use tokio::runtime::{Builder, Runtime};
use tower::{Service, ServiceExt, layer::util::Identity};

/// What a job does: as little as can be seen to have been done.
async fn add(n: u64) {
    SUM.fetch_add(n, Ordering::Relaxed);
}

static SUM: AtomicU64 = AtomicU64::new(0);

#[derive(Deferrable)]
struct Add {
    n: u64,
}

impl Job for Add {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        add(self.n).await;
        Ok(())
    }
}

#[derive(Deferrable)]
struct AddOther {
    n: u64,
}

impl Job for AddOther {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        add(self.n).await;
        Ok(())
    }
}

/// What a handler does beside answering `hello`.
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

    fn handler(self) -> MethodRouter {
        let Self { way, jobs } = self;
        match way {
            Way::Spawn => get(async move || {
                for _ in 0..jobs {
                    tokio::spawn(add(1));
                }
                "hello"
            }),
            Way::Defer => get(async move || {
                for _ in 0..jobs {
                    Add::defer(1u64);
                }
                "hello"
            }),
            Way::Closure => get(async move || {
                for _ in 0..jobs {
                    defer_fn(|_cx| add(1));
                }
                "hello"
            }),
            Way::Mixed => get(async move || {
                for n in 0..jobs {
                    if n % 2 == 0 {
                        Add::defer(1u64)
                    } else {
                        AddOther::defer(1u64)
                    };
                }
                "hello"
            }),
        }
    }

    /// The router, under the layer that is measured or one that does nothing.
    pub fn app(self, runner: &Runner) -> Router {
        let router = Router::new().route("/items/{id}", self.handler());
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
        let ways = [Way::Spawn, Way::Defer, Way::Closure, Way::Mixed];
        let way = ways.into_iter().find(|known| format!("{known:?}") == way);
        match (way, jobs.parse()) {
            (Some(way), Ok(jobs)) => Ok(Self { way, jobs }),
            _ => Err(format!("`{s}` is no case")),
        }
    }
}

fn holding_runner(jobs: u64) -> Runner {
    let room = usize::try_from(jobs).unwrap_or(usize::MAX).saturating_add(1);
    Runner::builder().max_running(1).max_pending(room).build()
}

/// What `measure` says of deferring this many jobs in one scope, which is not over before.
pub fn hold_in_one_request(jobs: u64, measure: impl FnOnce(&mut dyn FnMut()) -> f64) -> f64 {
    let runtime = runtime();
    runtime.block_on(scope(holding_runner(jobs), async {
        measure(&mut || {
            for _ in 0..jobs {
                Add::defer(1u64);
            }
        })
    }))
}

/// What `measure` says of spawning the work of this many jobs, none of which runs before.
pub fn hold_spawned(jobs: u64, measure: impl FnOnce(&mut dyn FnMut()) -> f64) -> f64 {
    runtime().block_on(async {
        measure(&mut || {
            for _ in 0..jobs {
                tokio::spawn(add(1));
            }
        })
    })
}

fn runtime() -> Runtime {
    Builder::new_current_thread().build().expect("a runtime without drivers can be built")
}

/// Sends requests to a case's router, one after another, and runs the jobs of each before the next.
#[derive(Debug)]
pub struct Driver {
    runtime: Runtime,
    app: Router,
    uri: Uri,
    case: Case,
}

impl Driver {
    /// A driver on a runtime of its own.
    pub fn new(case: Case) -> Self {
        Self::with_runner(case, &Runner::default())
    }

    /// A driver whose jobs wait: the one that may run never ends.
    pub fn holding(case: Case, jobs: u64) -> Self {
        let runner = holding_runner(jobs);
        let driver = Self::with_runner(case, &runner);
        driver.runtime.block_on(scope(&runner, async { defer_fn(|_cx| std::future::pending::<()>()) }));
        driver
    }

    fn with_runner(case: Case, runner: &Runner) -> Self {
        let runtime = runtime();
        // As hyper makes it: a part of a buffer that is shared already, so that a clone is a count.
        let uri = Bytes::from(b"/items/7?page=2".to_vec());
        let uri = Uri::from_maybe_shared(uri.clone()).expect("the URI is valid");
        Self { runtime, app: case.app(runner), uri, case }
    }

    /// Sends this many requests, and waits until their jobs have run.
    pub fn run(&mut self, requests: u64) {
        let expected = SUM.load(Ordering::Relaxed) + requests * self.case.jobs;
        self.send(requests);
        // Many jobs give way to others now and then.
        self.runtime.block_on(async {
            while SUM.load(Ordering::Relaxed) < expected {
                tokio::task::yield_now().await;
            }
        });
    }

    /// Sends this many requests, and lets the runtime run what can be run after each.
    pub fn send(&mut self, requests: u64) {
        let Self { runtime, app, uri, case: _ } = self;
        runtime.block_on(async {
            for _ in 0..requests {
                let mut request = Request::new(Body::empty());
                *request.uri_mut() = uri.clone();
                let service = ServiceExt::<Request>::ready(app).await.expect("a router is always ready");
                let response = service.call(request).await.expect("a router does not fail");
                assert_eq!(response.status(), StatusCode::OK);
                let body = response.into_body().collect().await.expect("the body does not fail");
                assert_eq!(body.to_bytes().len(), "hello".len());
                tokio::task::yield_now().await;
            }
        });
    }
}
