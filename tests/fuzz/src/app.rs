//! The app under test.

use std::{future::pending, panic::resume_unwind, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::any,
};
use defer_axum::{DeferLayer, Runner};
use http::{StatusCode, header::CONTENT_LENGTH};
use http_body_util::BodyExt;
use tower::ServiceExt;
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    body::response,
    case::{App, Course, Inner, Outer, Reads},
    world::{Place, World},
};

/// The limit on a response's time, if there is one. A [`Step::Wait`](crate::Step::Wait) is longer.
const SOON: Duration = Duration::from_secs(1);

/// The app of a case, around its handlers.
pub(crate) fn router(app: &App, world: &World, runner: &Runner) -> Router {
    let mut layer = DeferLayer::new(runner.clone());
    if app.releases_after {
        layer = layer.release_after(SOON);
    }
    let inner = Router::new().route("/{n}", any(inner)).with_state(world.clone()).layer(layer.clone());
    *world.inner() = Some(inner);
    let around = Around { world: world.clone(), outer: app.outer, defers: app.nested };
    let mut router = Router::new().route("/{n}", any(handle)).with_state(world.clone()).layer(layer.clone());
    match app.outer {
        Outer::None if !app.nested => {}
        Outer::CatchesPanics => router = router.layer(CatchPanicLayer::new()),
        _ => router = router.layer(from_fn_with_state(around, outer)),
    }
    if app.nested {
        router = router.layer(layer);
    }
    let times_out = |world: &World, n| world.exchange(n).answer.course == Course::TimesOut;
    if (0..world.requests()).any(|n| times_out(world, n)) {
        router = router.layer(from_fn_with_state(world.clone(), time_out));
    }
    router
}

fn number(request: &Request) -> usize {
    request.uri().path().trim_start_matches('/').parse().expect("each request has a number")
}

async fn handle(State(world): State<World>, request: Request) -> Response {
    let n = number(&request);
    let answer = &world.exchange(n).answer;
    (0..answer.jobs).for_each(|_| world.defer(n, Place::Handler));
    let mut body = request.into_body();
    match answer.reads {
        Reads::Nothing => drop(body),
        Reads::First => drop(body.frame().await),
        Reads::All => while let Some(Ok(_)) = body.frame().await {},
    }
    match answer.course {
        Course::Answers => {}
        Course::Waits => world.pass(n).await,
        Course::TimesOut => pending().await,
        Course::Panics => resume_unwind(Box::new("a handler")),
    }
    let Some(inner) = answer.inner else { return response(&world, n) };
    let router = world.inner().clone().expect("an app has it");
    let request = Request::get(format!("/{n}")).body(Body::empty()).expect("a request");
    let answered = router.oneshot(request).await.unwrap_or_else(|never| match never {});
    match inner {
        Inner::Forwards => return answered,
        Inner::Reads => drop(to_bytes(answered.into_body(), usize::MAX).await),
        Inner::Drops => drop(answered),
    }
    response(&world, n)
}

/// Answers a request made within this process.
async fn inner(State(world): State<World>, request: Request) -> Response {
    let n = number(&request);
    world.defer(n, Place::Inner);
    match world.exchange(n).answer.inner {
        Some(Inner::Forwards) => response(&world, n),
        _ => "an answer within".into_response(),
    }
}

#[derive(Clone)]
struct Around {
    world: World,
    outer: Outer,
    defers: bool,
}

async fn outer(State(around): State<Around>, request: Request, next: Next) -> Response {
    if around.defers {
        around.world.defer(number(&request), Place::Outer);
    }
    let response = next.run(request).await;
    match around.outer {
        Outer::None | Outer::Passes | Outer::CatchesPanics => response,
        Outer::Buffers => {
            let (mut head, body) = response.into_parts();
            head.headers.remove(CONTENT_LENGTH);
            match to_bytes(body, usize::MAX).await {
                Ok(bytes) => Response::from_parts(head, bytes.into()),
                Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            }
        }
        Outer::Replaces(size) => {
            drop(response);
            (StatusCode::ACCEPTED, vec![b'y'; size]).into_response()
        }
    }
}

/// Drops a handler that takes too long.
async fn time_out(State(world): State<World>, request: Request, next: Next) -> Response {
    let n = number(&request);
    let times_out = world.exchange(n).answer.course == Course::TimesOut;
    tokio::select! {
        biased;
        response = next.run(request) => response,
        () = world.pass(n), if times_out => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}
