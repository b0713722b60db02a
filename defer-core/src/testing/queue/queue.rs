//! The queue, as a test sees it.

use std::{fmt, iter::once, sync::Arc};

use super::table::{Fault, Table};
use crate::{job::job::Deferrable, model::status::JobStatus, store::Envelope};

/// A [queue](crate::queue::Queue) for tests, which keeps durable jobs in memory instead of a database. Requires the feature
/// `testing`.
///
/// It stands for one database and one process. Its jobs behave as with a database: they are stored when the handler has
/// answered. After the response, they run here if a [worker](Self::worker) takes their type, otherwise as soon as one does.
///
/// Cloning is cheap: a clone refers to the same queue. The queue keeps everything that was written.
///
/// ```
/// # use defer_core::{Deferrable, Job, JobContext, JobResult, Policy, Runner, defer, scope, testing::TestQueue};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)]
/// # struct SendWelcome { to: String }
/// # impl Job for SendWelcome { async fn run(&self, _: &JobContext) -> JobResult { Ok(()) } }
/// # impl Deferrable for SendWelcome {
/// #     const NAME: &'static str = "SendWelcome";
/// #     const POLICY: Policy = Policy::new().with_queue();
/// #     const ENCODE: Option<defer_core::__private::Encode<Self>> = Some(defer_core::__private::encode::<Self>);
/// #     const DECODE: Option<defer_core::__private::Decode<Self>> = defer_core::__private::decode!(Self);
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let queue = TestQueue::new();
/// let runner = Runner::builder().queue(queue.clone()).build();
/// let worker = queue.worker(runner.clone()).job::<SendWelcome>();
/// scope(&runner, async { defer(SendWelcome { to: "ada@example.com".into() }) }).await;
///
/// let written = queue.written::<SendWelcome>();
/// assert_eq!(written[0].job.to, "ada@example.com");
/// runner.idle().await;
/// worker.run_until_empty().await; // what did not run here
/// assert!(queue.written::<SendWelcome>()[0].status.is_final());
/// # }
/// ```
#[derive(Clone, Default)]
pub struct TestQueue {
    pub(super) table: Arc<Table>,
}

/// A job that was written to a [`TestQueue`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Written<J> {
    /// The job, read from its payload.
    pub job: J,
    /// The written data: the id, the keys, the delay, the payload, and the metadata of the request.
    pub envelope: Envelope,
    /// Its status.
    pub status: JobStatus,
}

impl TestQueue {
    /// Creates an empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    #[doc(hidden)]
    pub fn with_fault(fault: Fault) -> Self {
        Self { table: Arc::new(Table::with_fault(fault)) }
    }

    /// Returns the written jobs of type `J`, under all its names, in the order in which they became ready or, if they have not,
    /// were written.
    ///
    /// # Panics
    ///
    /// If one of them cannot be read.
    #[track_caller]
    pub fn written<J: Deferrable>(&self) -> Vec<Written<J>> {
        let decode = J::DECODE.unwrap_or_else(|| {
            panic!("`{}` cannot be read from a queue: derive `Deserialize` for it", J::NAME)
        });
        let of_type = self
            .table
            .all()
            .into_iter()
            .filter(|(envelope, _)| once(&J::NAME).chain(J::ALIASES).any(|name| *name == envelope.name));
        let read = of_type.map(|(envelope, status)| {
            let job = decode(&envelope.payload)
                .unwrap_or_else(|error| panic!("a stored job is not a `{}`: {error}", J::NAME));
            Written { job, envelope, status }
        });
        read.collect()
    }

    /// Makes every write fail from now on, as if the database were unreachable, or lets writes succeed again.
    pub fn set_away(&self, is_away: bool) {
        self.table.set_away(is_away);
    }

    /// Makes delays, backoffs and snoozes of jobs in the queue elapse immediately from now on.
    pub fn skip_waits(&self) {
        self.table.skip_waits();
    }
}

/// Lists the names of the jobs and their states.
impl fmt::Debug for TestQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.table.all().iter().map(|(job, status)| (&*job.name, status))).finish()
    }
}
