//! An apalis worker beside a server.

use std::{fmt, future::Future, panic::AssertUnwindSafe, pin::pin, time::Duration};

use defer_core::{BoxError, BoxFuture, Runner, queue::RunWorker};
use futures_util::{
    FutureExt as _,
    future::{Either, Shared, select},
};
use tokio::time::sleep;

/// How long after a failure the next worker starts.
const PAUSE: Duration = Duration::from_secs(1);

type Stop = Shared<BoxFuture<'static, ()>>;
type Run = dyn Fn(Stop) -> BoxFuture<'static, Result<(), BoxError>> + Send + Sync;

/// Lets `defer_axum::serve(..).with_worker(..)` run apalis workers: the server stops them, and drains their runner.
///
/// A worker of apalis ends when its storage fails, for example because Redis restarts. Then another one starts after a second.
pub struct ApalisWorker {
    runner: Runner,
    run: Box<Run>,
}

impl ApalisWorker {
    /// Wraps workers whose jobs run on this runner. `run` builds a worker and runs it until the future that it is given completes:
    /// see the [example](crate#example).
    pub fn new<F, Fut, E>(runner: Runner, run: F) -> Self
    where
        F: Fn(BoxFuture<'static, ()>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError> + 'static,
    {
        let run = move |stop: Stop| -> BoxFuture<'static, _> {
            let running = run(Box::pin(stop));
            Box::pin(async move { running.await.map_err(Into::into) })
        };
        Self { runner, run: Box::new(run) }
    }

    /// Runs one worker. A panic is an error.
    async fn run_once(&self, stop: Stop) -> Result<(), BoxError> {
        let running = AssertUnwindSafe(async { (self.run)(stop).await });
        running.catch_unwind().await.unwrap_or_else(|_| Err("the worker panicked".into()))
    }
}

impl RunWorker for ApalisWorker {
    fn runner(&self) -> Option<Runner> {
        Some(self.runner.clone())
    }

    fn run(self: Box<Self>, stop: BoxFuture<'static, ()>) -> BoxFuture<'static, Result<(), BoxError>> {
        Box::pin(async move {
            let stop = stop.shared();
            loop {
                let error = match self.run_once(stop.clone()).await {
                    Err(error) if stop.peek().is_none() => error,
                    ended => return ended,
                };
                tracing::warn!(target: "defer", %error, "an apalis worker failed, and another one starts");
                if let Either::Left(_) = select(stop.clone(), pin!(sleep(PAUSE))).await {
                    return Ok(());
                }
            }
        })
    }
}

impl fmt::Debug for ApalisWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApalisWorker").field("runner", &self.runner).finish_non_exhaustive()
    }
}
