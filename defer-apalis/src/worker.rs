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
/// How long apalis may take to end a worker that has no tasks left.
const END_WITHIN: Duration = Duration::from_secs(5);

type Stop = Shared<BoxFuture<'static, ()>>;
type Run = dyn Fn(JobHandler, Stop) -> BoxFuture<'static, Result<(), BoxError>> + Send + Sync;

/// Lets `defer_axum::serve(..).with_worker(..)` run apalis workers: the server stops them, and drains their runner.
///
/// A worker of apalis ends when its storage fails, for example because Redis restarts, or does not answer in time. apalis drops the
/// tasks that the worker was running, so their jobs are stopped, and run again when the storage takes the worker for dead. Another
/// worker starts after a second.
///
/// At the server's signal, the worker fetches only a few more tasks, which it hands back, and waits for the jobs that run here. What
/// it hands back is due 4 s later, when it has stopped.
/// About 1.5 s after the last has ended, when all should be acknowledged, it stops; after 5 s more it is dropped. Those whose
/// acknowledgement took longer run again. A worker that fails after the signal is no error. It is logged, and others run its jobs.
///
/// `run_until` of apalis alone can wait forever (1.0.0, on Redis: if more than four times `Config::batch_size` tasks run by then).
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
                let overdue = async {
                    drained.clone().await;
                    // Without a limit, a worker that does not end would keep the server from its own end.
                    sleep(END_WITHIN).await;
                };
                let ended = match select(pin!(self.run_once(drained.clone())), pin!(overdue)).await {
                    Either::Left((ended, _)) => ended,
                    Either::Right(_) => Err("it did not end in time".into()),
                };
                let has_stopped = stop.peek().is_some();
                let error: BoxError = match ended {
                    Ok(()) if has_stopped => return Ok(()),
                    Err(error) if has_stopped => {
                        let what = "an apalis worker failed while it stopped: others run what it has left";
                        tracing::error!(target: "defer", %error, "{what}");
                        return Ok(());
                    }
                    Ok(()) => "it ended by itself".into(),
                    Err(error) => error,
                };
                tracing::warn!(target: "defer", %error, "an apalis worker failed, and another one starts");
                // Not at once: the storage may be away.
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
