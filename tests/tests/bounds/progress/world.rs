//! An app that follows plans.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::Request,
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
};
use defer_axum::{
    BoxFuture, DeferLayer, Deferrable, Job, JobContext, JobError, JobResult, Runner, defer_fn, scope,
};
use tokio_stream::StreamExt;
use tower::ServiceExt;

use super::plan::{Answer, Ask, Plan, Then, Work};

/// The state shared by everything in a case.
#[derive(Debug)]
pub(super) struct World {
    pub(super) runner: Runner,
    pub(super) layers: usize,
    /// The plans of `/0`, `/1`, and so on.
    pub(super) requests: Vec<Arc<Plan>>,
}

/// Creates the app, under as many layers as the world has, all of them on one runner.
pub(super) fn app(world: &Arc<World>) -> Router {
    let handled = world.clone();
    let mut app = Router::new().fallback(async move |request| answer(&handled, request).await);
    for layer in 0..world.layers {
        if layer > 0 {
            app = app.layer(from_fn(between));
        }
        app = app.layer(DeferLayer::new(world.runner.clone()));
    }
    app
}

async fn between(request: Request, next: Next) -> Response {
    defer_fn(async |_| ());
    let response = next.run(request).await;
    tokio::task::yield_now().await;
    response
}

/// Follows the request's plan: the one attached to it in this process, or the one of its path.
async fn answer(world: &Arc<World>, mut request: Request) -> Response {
    let plan = request.extensions().get::<Arc<Plan>>().cloned().unwrap_or_else(|| {
        let n: usize = request.uri().path()[1..].parse().expect("the number of a request");
        world.requests[n].clone()
    });
    plan.jobs.iter().for_each(|work| defer(world, work));
    let mut kept = Vec::new();
    for one in &plan.asks {
        kept.extend(ask(world, one).await);
    }
    match &plan.answer {
        Answer::Whole => "whole".into_response(),
        Answer::Events(events) => {
            let events = tokio_stream::iter(0..*events).map(|_| {
                defer_fn(async |_| ());
                Ok::<_, Infallible>(Bytes::from_static(b"event"))
            });
            Body::from_stream(events).into_response()
        }
        Answer::AskingEvents(events, one) => {
            let (world, one) = (world.clone(), one.clone());
            let events = tokio_stream::iter(0..*events).then(move |_| {
                let (world, one) = (world.clone(), one.clone());
                async move {
                    drop(ask(&world, &one).await);
                    Ok::<_, Infallible>(Bytes::from_static(b"event"))
                }
            });
            Body::from_stream(events).into_response()
        }
        Answer::Forwarded(plan) => {
            request.extensions_mut().insert(plan.clone());
            app(world).oneshot(request).await.into_response()
        }
    }
}

/// Makes a request within this process. Returns the answer if it should be kept.
fn ask<'a>(world: &'a Arc<World>, ask: &'a Ask) -> BoxFuture<'a, Option<Response>> {
    Box::pin(async move {
        let request = Request::get("/inner").extension(ask.plan.clone()).body(Body::empty());
        let response = app(world).oneshot(request.expect("a request")).await.into_response();
        assert_eq!(response.status(), 200);
        match ask.then {
            Then::Keep => return Some(response),
            Then::Drop => drop(response),
            Then::Read => {
                let read = to_bytes(response.into_body(), usize::MAX).await;
                assert!(read.expect("the body does not fail").len().is_multiple_of(5));
            }
        }
        None
    })
}

fn defer(world: &Arc<World>, work: &Work) {
    let world = world.clone();
    match work.clone() {
        Work::Nothing => drop(defer_fn(async |_| ())),
        Work::Yields => drop(defer_fn(async |_| tokio::task::yield_now().await)),
        Work::Fails => drop(Fails::defer()),
        Work::Defers(jobs) => drop(defer_fn(async move |_| {
            for _ in 0..jobs {
                defer_fn(async |_| ());
                tokio::task::yield_now().await;
            }
        })),
        Work::Scopes(scopes, jobs) => drop(defer_fn(async move |_| {
            for _ in 0..scopes {
                scope(&world.runner, async {
                    for _ in 0..jobs {
                        defer_fn(async |_| ());
                    }
                })
                .await;
            }
        })),
        Work::Asks(one) => drop(defer_fn(async move |_| {
            let kept = ask(&world, &one).await;
            tokio::task::yield_now().await;
            drop(kept);
        })),
    }
}

/// A job that fails.
#[derive(Deferrable)]
#[defer(tries = 2, backoff = "1ms")]
struct Fails;

impl Job for Fails {
    async fn run(&self, _: &JobContext) -> JobResult {
        Err(JobError::msg("on purpose"))
    }
}
