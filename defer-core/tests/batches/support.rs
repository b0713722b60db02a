//! Rows that are written in batches, to a table that says what becomes of them.

use std::{
    future::{Future, ready},
    marker::PhantomData,
    sync::Arc,
    time::Duration,
};

use defer_core::{
    __private::{Batched, Batching, batching, failed_alone, run_alone},
    BatchJob, BoxFuture, Deferrable, Deferred, Job, JobContext, JobError, JobResult, Policy, Runner, defer,
    scope,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc};

use crate::common::SECOND;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// A row, of a type of its own for each policy.
#[derive(Serialize, Deserialize)]
pub(crate) struct Row<K> {
    pub(crate) number: u32,
    #[serde(skip)]
    kind: PhantomData<fn() -> K>,
}

/// A type of rows.
pub(crate) trait Kind: Sized + 'static {
    const NAME: &'static str;
    const POLICY: Policy = Policy::new();
    const SIZE: usize = 3;
    const WITHIN: Duration = HOUR;

    fn row(number: u32) -> Row<Self> {
        Row { number, kind: PhantomData }
    }
}

impl<K> Batched for Row<K> {}

impl<K: Kind> BatchJob for Row<K> {
    async fn run(rows: &[Self], cx: &JobContext) -> JobResult {
        (cx.state::<Table>()?.write)(rows.iter().map(|row| row.number).collect(), cx.clone()).await
    }

    async fn failed(&self, cx: &JobContext, error: &JobError) {
        if let Ok(table) = cx.state::<Table>() {
            (table.failed)(self.number, cx, error);
        }
    }
}

impl<K: Kind> Job for Row<K> {
    fn run(&self, cx: &JobContext) -> impl Future<Output = JobResult> + Send {
        run_alone(self, cx)
    }

    fn failed(&self, cx: &JobContext, error: &JobError) -> impl Future<Output = ()> + Send {
        failed_alone(self, cx, error)
    }
}

impl<K: Kind> Deferrable for Row<K> {
    const NAME: &'static str = K::NAME;
    const POLICY: Policy = K::POLICY;
    const BATCH: Option<Batching<Self>> = Some(batching(K::SIZE, K::WITHIN));
    const ENCODE: Option<fn(&Self) -> Result<Vec<u8>, defer_core::BoxError>> =
        if K::POLICY.is_queued() { Some(defer_core::__private::encode::<Self>) } else { None };
    const DECODE: Option<fn(&[u8]) -> Result<Self, defer_core::BoxError>> =
        defer_core::__private::decode!(Self);
}

macro_rules! rows {
    ($($(#[$doc:meta])* $name:ident { $($item:tt)* })*) => {$(
        $(#[$doc])*
        pub(crate) enum $name {}
        impl Kind for $name {
            const NAME: &'static str = stringify!($name);
            $($item)*
        }
    )*};
}

rows! {
    /// Three together, however long they wait.
    Plain {}
    /// Fifty, or what there is after a second.
    Soon {
        const SIZE: usize = 50;
        const WITHIN: Duration = SECOND;
    }
    Thrice { const POLICY: Policy = Policy::new().with_tries(3).with_backoff(SECOND, SECOND); }
    Twice { const POLICY: Policy = Policy::new().with_tries(2).with_backoff(SECOND, SECOND); }
    Limited { const POLICY: Policy = Policy::new().with_tries(2).with_backoff(SECOND, SECOND).with_timeout(SECOND); }
    OneAtATime {
        const POLICY: Policy = Policy::new().with_max_running(1);
        const SIZE: usize = 2;
    }
    Beside {
        const POLICY: Policy = Policy::new().with_concurrent();
        const WITHIN: Duration = SECOND;
    }
    OnSuccess { const POLICY: Policy = Policy::new().with_on_success(); }
    Queued { const POLICY: Policy = Policy::new().with_queue(); }
    QueuedTwice { const POLICY: Policy = Policy::new().with_queue().with_tries(2).with_backoff(SECOND, SECOND); }
}

/// The handling of a row that is given up.
type Failed = dyn Fn(u32, &JobContext, &JobError) + Send + Sync;

/// The table that attempts write their rows to.
pub(crate) struct Table {
    write: Box<dyn Fn(Vec<u32>, JobContext) -> BoxFuture<'static, JobResult> + Send + Sync>,
    failed: Box<Failed>,
}

impl Table {
    pub(crate) fn new<Fut>(write: impl Fn(Vec<u32>, JobContext) -> Fut + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output = JobResult> + Send + 'static,
    {
        Self { write: Box::new(move |rows, cx| Box::pin(write(rows, cx))), failed: Box::new(|_, _, _| ()) }
    }

    pub(crate) fn on_failed(
        self,
        failed: impl Fn(u32, &JobContext, &JobError) + Send + Sync + 'static,
    ) -> Self {
        Self { failed: Box::new(failed), ..self }
    }
}

/// The batches that a table was given, in order.
pub(crate) type Written = mpsc::UnboundedReceiver<Vec<u32>>;

/// A table that takes every row, and the batches that it was given.
pub(crate) fn table() -> (Table, Written) {
    table_that(|_| ready(Ok(())))
}

/// A table that says of each batch what becomes of it, and the batches that it was given.
pub(crate) fn table_that<Fut>(answer: impl Fn(Vec<u32>) -> Fut + Send + Sync + 'static) -> (Table, Written)
where
    Fut: Future<Output = JobResult> + Send + 'static,
{
    let (write, written) = mpsc::unbounded_channel();
    let table = Table::new(move |rows, _| {
        // A test that looks at something else has dropped it.
        let _ = write.send(rows.clone());
        answer(rows)
    });
    (table, written)
}

/// A table whose batches take a second, the batches that it was given, and who is notified when one starts.
pub(crate) fn slow_table() -> (Table, Written, Arc<Notify>) {
    let starts = Arc::new(Notify::new());
    let started = starts.clone();
    let (table, written) = table_that(move |_| {
        let starts = starts.clone();
        async move {
            starts.notify_one();
            tokio::time::sleep(SECOND).await;
            Ok(())
        }
    });
    (table, written, started)
}

/// Waits for what must come. A test that waits in vain fails after a day of its paused time.
pub(crate) async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(24 * HOUR, future).await.expect("it comes within a day")
}

/// Defers each row in a request of its own.
pub(crate) async fn defer_each<K: Kind>(
    runner: &Runner,
    rows: impl IntoIterator<Item = u32>,
) -> Vec<Deferred> {
    let mut deferred = Vec::new();
    for row in rows {
        deferred.push(scope(runner, async { defer(K::row(row)) }).await);
    }
    deferred
}

/// Returns the writes so far, once nothing is left.
pub(crate) fn all(mut written: Written) -> Vec<Vec<u32>> {
    std::iter::from_fn(|| written.try_recv().ok()).collect()
}
