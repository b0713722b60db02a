//! A job's statuses as server-sent events.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::response::{
    IntoResponse, Response,
    sse::{Event, KeepAlive, Sse},
};
use defer_core::{BoxFuture, JobId, JobStatus, Runner};
use futures_core::Stream;
use http::StatusCode;

/// Responds with the status of a job as server-sent events: first the current status, then each change, up to the job's end.
/// The runner has to keep outcomes: see [`Runner::watch`].
///
/// ```
/// use axum::{Router, extract::{Path, State}, http::StatusCode, response::Response, routing::get};
/// use defer_axum::{JobId, Runner, watch_sse};
///
/// async fn progress(State(runner): State<Runner>, Path(id): Path<JobId>) -> Response {
///     watch_sse(&runner, id).await
/// }
///
/// let runner = Runner::builder().keep_outcomes(10_000).build();
/// let app: Router = Router::new().route("/imports/{id}/progress", get(progress)).with_state(runner);
/// ```
///
/// The data of an event is JSON:
///
/// ```json
/// {"status":"pending","final":false}
/// {"status":"running","final":false}
/// {"status":"running","progress":{"done":3,"of":10},"final":false}
/// {"status":"succeeded","final":true}
/// ```
///
/// `status` is the [`JobStatus`] as `Display` writes it. `progress` is the value that the job has set with
/// [`JobContext::set_progress`](crate::JobContext::set_progress). A job's error is never sent, because it may contain details
/// that clients must not see.
///
/// In a browser, close the `EventSource` when `final` is true, because it would reconnect. The stream also ends when the
/// runner's shutdown is announced, so that it does not delay the shutdown. The browser then reconnects and follows the job on
/// the server that it reaches. A comment every 15 s keeps the connection alive.
///
/// Responds with 404 Not Found if neither the runner nor the queue knows the job (anymore); an `EventSource` then gives up.
/// Responds with 503 Service Unavailable if the shutdown is announced while the queue cannot be reached.
///
/// Ids can be guessed from one another, so check that the client may see the job. Call this in a different request from the one
/// that deferred the job: the job starts only after the response of that one.
///
/// # Cancel safety
///
/// Cancel safe: it only reads.
pub async fn watch_sse(runner: &Runner, id: JobId) -> Response {
    let statuses = Box::pin(runner.watch(id));
    let announced = {
        let runner = runner.clone();
        Box::pin(async move { runner.shutdown_announced().await })
    };
    let mut watched = Watched { statuses, announced };
    match poll_fn(|cx| Pin::new(&mut watched).poll_status(cx)).await {
        Next::Status(first) => {
            let events = Events { first: Some(first), watched };
            Sse::new(events).keep_alive(KeepAlive::default()).into_response()
        }
        Next::End => (StatusCode::NOT_FOUND, "no such job, or no longer").into_response(),
        Next::Shutdown => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// The next event.
enum Next {
    Status(JobStatus),
    End,
    Shutdown,
}

struct Watched {
    statuses: Pin<Box<dyn Stream<Item = JobStatus> + Send>>,
    announced: BoxFuture<'static, ()>,
}

impl Watched {
    /// Polls the statuses first, because a job may have ended just before the shutdown.
    fn poll_status(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Next> {
        match self.statuses.as_mut().poll_next(cx) {
            Poll::Ready(Some(status)) => Poll::Ready(Next::Status(status)),
            Poll::Ready(None) => Poll::Ready(Next::End),
            Poll::Pending => self.announced.as_mut().poll(cx).map(|()| Next::Shutdown),
        }
    }
}

/// The events of a known job.
struct Events {
    first: Option<JobStatus>,
    watched: Watched,
}

impl Stream for Events {
    type Item = Result<Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(event(&first))));
        }
        match ready!(Pin::new(&mut self.watched).poll_status(cx)) {
            Next::Status(status) => Poll::Ready(Some(Ok(event(&status)))),
            Next::End | Next::Shutdown => Poll::Ready(None),
        }
    }
}

fn event(status: &JobStatus) -> Event {
    let is_final = status.is_final();
    Event::default().data(match status {
        JobStatus::InProgress { progress, .. } => {
            format!(r#"{{"status":"{status}","progress":{},"final":{is_final}}}"#, progress.json())
        }
        status => format!(r#"{{"status":"{status}","final":{is_final}}}"#),
    })
}
