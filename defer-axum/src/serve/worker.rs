//! Workers of queues, which run beside the server.

use std::{
    fmt,
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use defer_core::{BoxError, BoxFuture, queue::RunWorker};
use tokio::{
    sync::watch,
    task::{JoinError, JoinHandle},
    time::timeout,
};

/// How long after the drain's deadline a worker may still store how its jobs ended.
const WRITE_TIMEOUT: Duration = Duration::from_secs(3);

/// Workers that do not run yet.
#[derive(Default)]
pub(super) struct Workers(Vec<Box<dyn RunWorker>>);

impl Workers {
    pub(super) fn push(&mut self, worker: impl RunWorker) {
        self.0.push(Box::new(worker));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Runs each in a task of its own: its panic is its own, and it goes on to its end if the server is dropped.
    pub(super) fn start(self) -> RunningWorkers {
        let stop = StopWorkers(watch::Sender::new(false));
        let start = |worker: Box<dyn RunWorker>| {
            let stopped = stop.stopped();
            tokio::spawn(async move { worker.run(stopped).await })
        };
        let tasks = self.0.into_iter().map(start).collect();
        RunningWorkers { stop, tasks, error: None }
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Workers").field(&self.0.len()).finish()
    }
}

/// Tells workers to take no more.
#[derive(Clone)]
pub(super) struct StopWorkers(watch::Sender<bool>);

impl StopWorkers {
    pub(super) fn stop(&self) {
        self.0.send_replace(true);
    }

    fn stopped(&self) -> BoxFuture<'static, ()> {
        let mut stop = self.0.subscribe();
        Box::pin(async move {
            // An error means that nobody is left to say so.
            let _ = stop.wait_for(|stop| *stop).await;
        })
    }
}

type Task = JoinHandle<Result<(), BoxError>>;

/// Workers that run. Dropped, they take no more jobs.
pub(super) struct RunningWorkers {
    stop: StopWorkers,
    tasks: Vec<Task>,
    /// Of the first that failed.
    error: Option<io::Error>,
}

impl RunningWorkers {
    pub(super) fn stopper(&self) -> StopWorkers {
        self.stop.clone()
    }

    /// Completes when a worker has failed, which nothing but the end of the server makes up for.
    pub(super) async fn failed(&mut self) {
        poll_fn(|cx| {
            self.poll_tasks(cx);
            if self.error.is_some() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Tells them to stop, and waits until all of them have ended, for this long and the time to write. Returns the error of the
    /// first that failed.
    pub(super) async fn ended(mut self, left: Duration) -> io::Result<()> {
        self.stop.stop();
        let ended = poll_fn(|cx| {
            self.poll_tasks(cx);
            if self.tasks.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        });
        if timeout(left.saturating_add(WRITE_TIMEOUT), ended).await.is_err() {
            self.tasks.iter().for_each(JoinHandle::abort);
            let error =
                "a queue's worker did not stop in time: another process runs the jobs that it has left";
            self.fail(io::Error::new(io::ErrorKind::TimedOut, error));
        }
        self.error.take().map_or(Ok(()), Err)
    }

    /// Forgets the tasks that have ended.
    fn poll_tasks(&mut self, cx: &mut Context<'_>) {
        let mut ended = Vec::new();
        self.tasks.retain_mut(|task| match Pin::new(task).poll(cx) {
            Poll::Ready(result) => {
                ended.push(result);
                false
            }
            Poll::Pending => true,
        });
        for error in ended.into_iter().filter_map(error_of) {
            self.fail(error);
        }
    }

    fn fail(&mut self, error: io::Error) {
        tracing::error!(target: "defer", %error, "a queue's worker failed: the server shuts down");
        self.error.get_or_insert(error);
    }
}

impl Drop for RunningWorkers {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

fn error_of(ended: Result<Result<(), BoxError>, JoinError>) -> Option<io::Error> {
    match ended {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(io::Error::other(error)),
        Err(panic) => Some(io::Error::other(format!("a queue's worker panicked: {panic}"))),
    }
}
