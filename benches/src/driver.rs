//! Requests in this process: no socket, no server.

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{StatusCode, Uri},
};
use bytes::Bytes;
use defer_axum::{Runner, scope};
use http_body_util::BodyExt;
use tokio::runtime::Runtime;
use tower::{Service, ServiceExt};

use crate::{Case, Drive, current_thread, job::Tally, pending};

/// Sends requests to a case's router, one after another.
#[derive(Debug)]
pub(crate) struct Sender {
    app: Router,
    uri: Uri,
    case: Case,
    tally: &'static Tally,
}

impl Sender {
    pub(crate) fn new(case: Case, runner: &Runner) -> Self {
        let tally = Tally::new();
        // As in hyper: part of a shared buffer, so cloning it only counts a reference.
        let uri = Bytes::from(b"/items/7?page=2".to_vec());
        let uri = Uri::from_maybe_shared(uri.clone()).expect("the URI is valid");
        Self { app: case.app(runner, tally, || "hello"), uri, case, tally }
    }

    /// Sends this many requests, and runs the jobs of each before the next.
    pub(crate) async fn run(&mut self, requests: u64) {
        for _ in 0..requests {
            self.tally.expect(self.case.jobs);
            self.send().await;
            self.tally.all_ran().await;
        }
    }

    /// Sends a request, and lets the runtime run what is ready after it.
    async fn send(&mut self) {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = self.uri.clone();
        let service = ServiceExt::<Request>::ready(&mut self.app).await.expect("a router is always ready");
        let response = service.call(request).await.expect("a router does not fail");
        assert_eq!(response.status(), StatusCode::OK);
        let body = response.into_body().collect().await.expect("the body does not fail");
        assert_eq!(body.to_bytes().len(), "hello".len());
        tokio::task::yield_now().await;
    }
}

/// Sends requests on one thread.
#[derive(Debug)]
pub struct Driver {
    runtime: Runtime,
    sender: Sender,
}

impl Driver {
    /// Creates a driver on its own runtime.
    pub fn new(case: Case) -> Self {
        Self::on(case, &Runner::default())
    }

    /// Creates a driver whose jobs this runner runs.
    pub fn on(case: Case, runner: &Runner) -> Self {
        Self { runtime: current_thread(), sender: Sender::new(case, runner) }
    }

    /// Creates a driver whose jobs wait, because the only one that may run never ends.
    pub fn holding(case: Case, jobs: u64) -> Self {
        let runner = pending::one_at_a_time(jobs);
        let driver = Self { runtime: current_thread(), sender: Sender::new(case, &runner) };
        driver.runtime.block_on(scope(&runner, async { pending::hold(std::future::pending::<()>()) }));
        driver
    }

    /// Sends this many requests, without waiting for their jobs.
    pub fn send(&mut self, requests: u64) {
        let Self { runtime, sender } = self;
        runtime.block_on(async {
            for _ in 0..requests {
                sender.send().await;
            }
        });
    }
}

impl Drive for Driver {
    fn run(&mut self, requests: u64) {
        self.runtime.block_on(self.sender.run(requests));
    }
}
