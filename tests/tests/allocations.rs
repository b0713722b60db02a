//! Tests how many allocations a request costs. A request that defers nothing costs none.
//!
//! The counting allocator is that of `allocation_counter`, which counts each thread separately.

use axum::{
    Router,
    body::Body,
    routing::{any, get},
};
use bytes::Bytes;
use defer_axum::{DeferLayer, Deferrable, Job, JobContext, JobResult, Runner};
use http::{Method, Request, Uri};
use http_body_util::BodyExt;
use tokio::runtime::Runtime;
use tower::{Service, layer::util::Identity};

/// A job that holds nothing and does nothing.
#[derive(Deferrable)]
struct Nothing;

impl Job for Nothing {
    async fn run(&self, _: &JobContext) -> JobResult {
        Ok(())
    }
}

/// A concurrent job that defers the next job.
#[derive(Deferrable)]
#[defer(concurrent)]
struct Chain {
    left: u32,
    _large: [u8; 512],
}

impl Job for Chain {
    async fn run(&self, _: &JobContext) -> JobResult {
        if self.left > 0 {
            Self::defer(self.left - 1, [0; 512]);
        }
        Ok(())
    }
}

fn defer_jobs(jobs: usize) -> &'static str {
    for _ in 0..jobs {
        Nothing::defer();
    }
    "hello"
}

fn routes() -> Router {
    Router::new()
        .route("/small", any(async || "hello"))
        .route("/empty", any(async || {}))
        .route("/error", any(async || http::StatusCode::INTERNAL_SERVER_ERROR))
        .route("/extracted/{id}", any(async |id: axum::extract::Path<u32>| id.to_string()))
        .route("/jobs/1", get(async || defer_jobs(1)))
        .route("/jobs/10", get(async || defer_jobs(10)))
        .fallback(async || http::StatusCode::NOT_FOUND)
}

/// Creates a request as hyper does. Its URI is part of the connection's buffer, so cloning it costs nothing.
fn request(method: &Method, path: &'static str) -> Request<Body> {
    let buffer = Bytes::from_owner(path);
    let uri = Uri::from_maybe_shared(buffer).expect("a path");
    Request::builder().method(method).uri(uri).body(Body::empty()).expect("the parts are valid")
}

/// Returns the number of allocations from a request to the end of its response's body and of its jobs.
fn allocations(
    runtime: &Runtime,
    app: &mut Router,
    runner: &Runner,
    method: &Method,
    path: &'static str,
) -> u64 {
    let mut once = || {
        let request = request(method, path);
        let counted = allocation_counter::measure(|| {
            runtime.block_on(async {
                let Ok(response) = app.call(request).await;
                let mut body = response.into_body();
                while let Some(frame) = body.frame().await {
                    frame.expect("the body does not fail");
                }
                drop(body);
                runner.idle().await;
            });
        });
        counted.count_total
    };
    // The first requests fill caches.
    for _ in 0..10 {
        once();
    }
    let count = once();
    for _ in 0..10 {
        assert_eq!(once(), count, "{method} {path}: each request costs the same");
    }
    count
}

#[test]
fn a_request_that_defers_nothing_allocates_as_much_as_without_the_layer() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let runner = Runner::default();
    // Servers do this for each connection. Without it, axum 0.8 wraps a route in its layers for each request.
    let mut plain: Router = routes().layer(Identity::new()).with_state(());
    let layer = DeferLayer::new(runner.clone()).capture_request_headers(["x-not-sent"]);
    let mut layered: Router = routes().layer(layer).with_state(());
    let count = |app: &mut Router, method: &Method, path| allocations(&runtime, app, &runner, method, path);

    for path in ["/small", "/empty", "/error", "/extracted/7", "/nothing"] {
        for method in [Method::GET, Method::HEAD, Method::POST] {
            let without = count(&mut plain, &method, path);
            let with = count(&mut layered, &method, path);
            println!("{method} {path}: {without} allocations without the layer, {with} with it");
            assert_eq!(with, without, "{method} {path}");
        }
    }

    let none = count(&mut layered, &Method::GET, "/small");
    for path in ["/jobs/1", "/jobs/10"] {
        let more = count(&mut layered, &Method::GET, path) - none;
        println!("GET {path}: {more} allocations more than without jobs");
    }
    assert_eq!(runner.stats().succeeded, 21 * 11);
}

#[test]
fn concurrent_jobs_that_defer_concurrent_jobs_need_no_more_and_more_memory() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let runner = Runner::default();
    let counted = allocation_counter::measure(|| {
        runtime.block_on(async {
            defer_axum::scope(&runner, async { drop(Chain::defer(10_000_u32, [0; 512])) }).await;
            runner.idle().await;
        });
    });
    assert_eq!(runner.stats().succeeded, 10_001);
    assert!(counted.bytes_max < 500_000, "{} bytes at a time, of jobs of 512", counted.bytes_max);
}
