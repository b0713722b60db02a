//! The queue, which pushes jobs.

use std::{fmt, panic::AssertUnwindSafe, sync::Arc};

use apalis_core::{
    backend::{BackendConfig, TaskSink},
    task::Task,
};
use defer_core::{
    BoxError, BoxFuture,
    queue::{Envelope, Queue},
};
use futures_util::{FutureExt as _, stream};

use crate::{error::Error, message::Message};

type Push = dyn Fn(Vec<Task<Message>>) -> BoxFuture<'static, Result<(), Error>> + Send + Sync;

/// Durable jobs in a storage of apalis. Give it to [`RunnerBuilder::queue`](defer_core::RunnerBuilder::queue).
///
/// Cloning is cheap: a clone refers to the same storage.
#[derive(Clone)]
pub struct ApalisQueue {
    push: Arc<Push>,
}

impl ApalisQueue {
    /// Pushes jobs to this storage. Each push clones it, because a push that is dropped half-way can leave a storage with tasks
    /// that it takes for pushed.
    pub fn new<S>(storage: S) -> Self
    where
        S: BackendConfig + TaskSink<Message, <S as BackendConfig>::Kind> + Clone + Send + Sync + 'static,
    {
        let push = move |tasks| -> BoxFuture<'static, Result<(), Error>> {
            let mut storage = storage.clone();
            Box::pin(async move {
                let pushed = storage.push_all(stream::iter(tasks)).await;
                pushed.map_err(|error| Error::Storage(error.into()))
            })
        };
        Self { push: Arc::new(push) }
    }

    /// Pushes messages at once. A panic of the storage is an error.
    pub(crate) async fn send(&self, messages: Vec<Message>) -> Result<(), Error> {
        let tasks = messages.into_iter().map(Message::into_task).collect();
        let push = AssertUnwindSafe(async { (self.push)(tasks).await });
        push.catch_unwind().await.unwrap_or_else(|_| Err(Error::Storage("the storage panicked".into())))
    }
}

impl Queue for ApalisQueue {
    fn push(&self, jobs: Vec<Envelope>) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async move {
            // All are described before the first is pushed.
            let messages = jobs.iter().map(Message::new).collect::<Result<_, _>>()?;
            Ok(self.send(messages).await?)
        })
    }
}

impl fmt::Debug for ApalisQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApalisQueue").finish_non_exhaustive()
    }
}
