//! A worker's heartbeat: tells the queue that the worker is alive, and the log if the worker is ill.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    task::AbortHandle,
    time::{Instant, sleep},
};

use crate::{
    error::Error,
    store::{HEARTBEAT, Store, answered},
};

/// How long jobs may be due, and a worker take none, before that is logged as an error, again and again.
const ILL_AFTER: Duration = Duration::from_secs(60);

/// The task of a heartbeat. It goes on while the worker waits, even for an answer that never comes.
pub(crate) struct Heartbeat {
    task: AbortHandle,
    busy: Busy,
}

/// When the worker was busy last. `None` once it takes no more jobs.
type Busy = Arc<Mutex<Option<Instant>>>;

impl Heartbeat {
    pub(crate) fn start(store: Arc<dyn Store>, worker: String) -> Self {
        let busy = Arc::new(Mutex::new(Some(Instant::now())));
        let task = tokio::spawn(beat(store, worker, busy.clone())).abort_handle();
        Self { task, busy }
    }

    /// The worker has taken a job, or has as many as it can.
    pub(crate) fn is_busy(&self) {
        self.set(Some(Instant::now()));
    }

    /// The worker takes no more jobs: it waits for those that it has.
    pub(crate) fn is_draining(&self) {
        self.set(None);
    }

    fn set(&self, busy: Option<Instant>) {
        *self.busy.lock().unwrap_or_else(PoisonError::into_inner) = busy;
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn beat(store: Arc<dyn Store>, worker: String, busy: Busy) {
    let mut well = Instant::now();
    loop {
        sleep(HEARTBEAT).await;
        if let Err(error) = answered(store.heartbeat(&worker)).await {
            tracing::error!(target: "defer", worker, %error, "the queue's heartbeat failed");
            // Another worker may have declared it dead.
            let _ = answered(store.register(&worker)).await;
        }
        let last = *busy.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| well.max(last).elapsed() >= ILL_AFTER) {
            look(&*store, &worker).await;
            well = Instant::now();
        }
    }
}

/// Logs an error if jobs are due that the worker does not take.
async fn look(store: &dyn Store, worker: &str) {
    let oldest: Result<Option<Duration>, Error> =
        answered(store.counts()).await.map(|counts| counts.oldest_due);
    match oldest {
        Ok(Some(due)) if due >= ILL_AFTER => tracing::error!(
            target: "defer", worker, due_for = ?due,
            "the worker is ill: jobs have been due for longer than a minute, and it takes none"
        ),
        Ok(_) => {}
        Err(error) => {
            tracing::error!(target: "defer", worker, %error, "the queue could not be asked for its counts")
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "these are tests")]
mod tests {
    use std::io;

    use defer_core::{
        BoxFuture, JobId, JobStatus,
        queue::QueueCounts as Counts,
        queue::{Envelope, FailedJob},
    };
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;
    use crate::store::{Finished, Stored, Taken};

    /// A storage that works, and has jobs that are due for this long.
    #[derive(Debug)]
    struct Due(Option<Duration>);

    impl Store for Due {
        #[cfg(any(feature = "sqlite", feature = "postgres"))]
        fn database(&self) -> &'static str {
            "none"
        }
        fn push<'a>(&'a self, _: &'a [Envelope]) -> Stored<'a, ()> {
            Box::pin(async { Ok(()) })
        }
        fn register<'a>(&'a self, _: &'a str) -> Stored<'a, ()> {
            Box::pin(async { Ok(()) })
        }
        fn heartbeat<'a>(&'a self, _: &'a str) -> Stored<'a, ()> {
            Box::pin(async { Ok(()) })
        }
        fn unregister<'a>(&'a self, _: &'a str) -> Stored<'a, ()> {
            Box::pin(async { Ok(()) })
        }
        fn release<'a>(&'a self, _: &'a str, _: &'a [String]) -> Stored<'a, ()> {
            Box::pin(async { Ok(()) })
        }
        fn take<'a>(&'a self, _: &'a str, _: usize) -> Stored<'a, Vec<Taken>> {
            Box::pin(async { Ok(Vec::new()) })
        }
        fn finish<'a>(&'a self, _: &'a str, _: &'a [Finished]) -> Stored<'a, ()> {
            Box::pin(async { Ok(()) })
        }
        fn pushed(&self) -> BoxFuture<'_, ()> {
            Box::pin(std::future::pending())
        }
        fn counts(&self) -> Stored<'_, Counts> {
            let mut counts = Counts::default();
            counts.oldest_due = self.0;
            Box::pin(async move { Ok(counts) })
        }
        fn failed(&self, _: usize) -> Stored<'_, Vec<FailedJob>> {
            Box::pin(async { Ok(Vec::new()) })
        }
        fn status(&self, _: JobId) -> Stored<'_, Option<JobStatus>> {
            Box::pin(async { Ok(None) })
        }
        fn retry(&self, _: JobId) -> Stored<'_, bool> {
            Box::pin(async { Ok(false) })
        }
        fn forget_done(&self, _: Duration) -> Stored<'_, u64> {
            Box::pin(async { Ok(0) })
        }
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(line);
            Ok(line.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Log {
        type Writer = Self;
        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    /// Returns what a heartbeat of five minutes logs, with a worker that is busy every this often.
    async fn logged(due: Option<Duration>, busy_every: Duration) -> String {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
        let _default = tracing::subscriber::set_default(subscriber);
        let heartbeat = Heartbeat::start(Arc::new(Due(due)), "w".to_owned());
        let until = Instant::now() + Duration::from_secs(300);
        while Instant::now() < until {
            sleep(busy_every).await;
            heartbeat.is_busy();
        }
        let log = log.0.lock().unwrap();
        String::from_utf8(log.clone()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_takes_no_job_though_some_are_due_is_said_to_be_ill() {
        let log = logged(Some(Duration::from_secs(90)), Duration::from_secs(301)).await;
        let lines: Vec<&str> = log.lines().collect();
        assert_eq!(lines.len(), 5, "once a minute: {log}");
        assert!(lines[0].contains("ERROR") && lines[0].contains("the worker is ill"), "{log}");
        assert!(lines[0].contains("worker=\"w\"") && lines[0].contains("due_for=90s"), "{log}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_drains_is_well() {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).finish();
        let _default = tracing::subscriber::set_default(subscriber);
        let heartbeat = Heartbeat::start(Arc::new(Due(Some(Duration::from_secs(90)))), "w".to_owned());
        heartbeat.is_draining();
        sleep(Duration::from_secs(300)).await;
        assert!(log.0.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_is_busy_or_has_nothing_to_do_is_well() {
        let minute = Duration::from_secs(60);
        assert_eq!(logged(Some(10 * minute), Duration::from_secs(50)).await, "");
        assert_eq!(logged(None, Duration::from_secs(301)).await, "");
        assert_eq!(logged(Some(minute / 2), Duration::from_secs(301)).await, "");
    }
}
