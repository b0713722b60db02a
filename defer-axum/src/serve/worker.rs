//! Queue workers that run next to the server.

use std::{fmt, future::pending, io, time::Duration};

use defer_core::{BoxError, BoxFuture, queue::RunWorker};
use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
    time::timeout,
};

/// The time after the drain's deadline in which a worker may still store how its jobs ended.
const WRITE_TIMEOUT: Duration = Duration::from_secs(3);

/// Workers that have not started.
#[derive(Default)]
pub(super) struct Workers(Vec<Box<dyn RunWorker>>);

impl Workers {
    pub(super) fn push(&mut self, worker: impl RunWorker) {
        self.0.push(Box::new(worker));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Runs each worker in its own task. Its panic affects no other, and it finishes its jobs if the server is dropped.
    pub(super) fn start(self) -> RunningWorkers {
        let stop = StopWorkers(watch::Sender::new(false));
        let mut tasks = JoinSet::new();
        for worker in self.0 {
            let stopped = stop.stopped();
            tasks.spawn(async move { worker.run(stopped).await });
        }
        RunningWorkers { stop, tasks, error: None }
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Workers").field(&self.0.len()).finish()
    }
}

/// Tells workers to stop taking jobs.
#[derive(Clone)]
pub(super) struct StopWorkers(watch::Sender<bool>);

impl StopWorkers {
    pub(super) fn stop(&self) {
        self.0.send_replace(true);
    }

    fn stopped(&self) -> BoxFuture<'static, ()> {
        let mut stop = self.0.subscribe();
        Box::pin(async move {
            // An error means that the sender is gone, which also stops the worker.
            let _ = stop.wait_for(|stop| *stop).await;
        })
    }
}

/// Running workers. If this is dropped, they stop taking jobs.
pub(super) struct RunningWorkers {
    stop: StopWorkers,
    tasks: JoinSet<Result<(), BoxError>>,
    /// The error of the first worker that failed.
    error: Option<io::Error>,
}

impl RunningWorkers {
    pub(super) fn stopper(&self) -> StopWorkers {
        self.stop.clone()
    }

    /// Completes when a worker has failed. Then the server has to end.
    pub(super) async fn failed(&mut self) {
        while self.error.is_none() {
            match self.tasks.join_next().await {
                Some(ended) => self.note(ended),
                None => pending().await,
            }
        }
    }

    /// Tells the workers to stop, and waits until all have ended: for this long, and then for the time to write. Returns the
    /// error of the first that failed.
    pub(super) async fn ended(mut self, left: Duration) -> io::Result<()> {
        self.stop.stop();
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                self.note(ended);
            }
        };
        if timeout(left.saturating_add(WRITE_TIMEOUT), all).await.is_err() {
            self.tasks.abort_all();
            let error =
                "a queue's worker did not stop in time: another process runs the jobs that it has left";
            self.fail(io::Error::new(io::ErrorKind::TimedOut, error));
        }
        self.error.take().map_or(Ok(()), Err)
    }

    fn note(&mut self, ended: Result<Result<(), BoxError>, JoinError>) {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.fail(io::Error::other(error)),
            Err(panic) => self.fail(io::Error::other(format!("a queue's worker panicked: {panic}"))),
        }
    }

    fn fail(&mut self, error: io::Error) {
        tracing::error!(target: "defer", %error, "a queue's worker failed");
        self.error.get_or_insert(error);
    }
}

impl Drop for RunningWorkers {
    fn drop(&mut self) {
        self.stop.stop();
        // They finish the jobs they have.
        self.tasks.detach_all();
    }
}
