//! An apalis worker beside a server.

use std::{fmt, future::Future, panic::AssertUnwindSafe, pin::pin, sync::Arc, time::Duration};

use defer_core::{BoxError, BoxFuture, Runner, queue::RunWorker};
use futures_util::{
    FutureExt as _,
    future::{Either, Shared, select},
};
use tokio::time::sleep;

use crate::handler::JobHandler;

/// How long after a failure the next worker starts.
const PAUSE: Duration = Duration::from_secs(1);

type Stop = Shared<BoxFuture<'static, ()>>;
type Run = dyn Fn(JobHandler, Stop) -> BoxFuture<'static, Result<(), BoxError>> + Send + Sync;

/// Lets `defer_axum::serve(..).with_worker(..)` run apalis workers: the server stops them, and drains their runner.
///
/// A worker of apalis ends when its storage fails, for example because Redis restarts. Then another one starts after a second.
///
/// At the server's signal, the worker hands back what it takes from then on, waits for the jobs that run here, and stops when they
/// are acknowledged. `run_until` of apalis alone can wait forever (1.0.0, on Redis: if more than four times
/// `Config::batch_size` tasks run by then).
pub struct ApalisWorker {
    handler: JobHandler,
    run: Box<Run>,
}

impl ApalisWorker {
    /// Wraps workers with this handler. `run` builds one, and runs it until the future that it is given completes: see the
    /// [example](crate#example). Use a handler for one `ApalisWorker` only.
    pub fn new<F, Fut, E>(handler: JobHandler, run: F) -> Self
    where
        F: Fn(JobHandler, BoxFuture<'static, ()>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError> + 'static,
    {
        let run = move |handler, stop: Stop| -> BoxFuture<'static, _> {
            let running = run(handler, Box::pin(stop));
            Box::pin(async move { running.await.map_err(Into::into) })
        };
        Self { handler, run: Box::new(run) }
    }

    /// Runs one worker. A panic is an error.
    async fn run_once(&self, stop: Stop) -> Result<(), BoxError> {
        let running = AssertUnwindSafe(async { (self.run)(self.handler.clone(), stop).await });
        running.catch_unwind().await.unwrap_or_else(|_| Err("the worker panicked".into()))
    }
}

impl RunWorker for ApalisWorker {
    fn runner(&self) -> Option<Runner> {
        Some(self.handler.runner().clone())
    }

    fn run(self: Box<Self>, stop: BoxFuture<'static, ()>) -> BoxFuture<'static, Result<(), BoxError>> {
        Box::pin(async move {
            let stop = stop.shared();
            let (stopped, drain) = (stop.clone(), Arc::clone(self.handler.drain()));
            let drained: BoxFuture<'static, ()> = Box::pin(async move {
                stopped.await;
                drain.drained().await;
            });
            let drained = drained.shared();
            loop {
                let error = match self.run_once(drained.clone()).await {
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
        f.debug_struct("ApalisWorker").field("handler", &self.handler).finish_non_exhaustive()
    }
}
