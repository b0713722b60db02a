//! A storage in memory, whose worker is fed by apalis-core's own.

use std::{
    collections::HashSet,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use apalis_core::{
    backend::{
        Backend, BackendConfig,
        finalize::Ephemeral,
        memory::{MemorySink, MemoryStorage, MemoryStorageError},
    },
    error::{AbortError, BoxDynError, DeferredError, RetryAfterError, WorkerError},
    task::{Task, task_id::RandomId},
    worker::{builder::WorkerBuilder, context::WorkerContext},
};
use defer_apalis::{JobHandler, Message};
use defer_core::BoxFuture;
use futures_channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures_util::{Sink, SinkExt as _, StreamExt as _, lock, stream};
use tokio::sync::watch;
use tower_layer::Identity;
use tower_service::Service;

/// What the storage does with the next pushes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    #[default]
    None,
    /// So many fail.
    Fails(u32),
    /// None completes.
    Hangs,
    Panics,
}

/// What the handler told apalis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Done,
    Aborted(String),
    /// What apalis 1.0 loses tasks by.
    RetryAfter,
    Failed(String),
}

/// `MemoryStorage` of apalis-core cannot be cloned, and its sink panics when two threads push at once (1.0.0). So pushes go into a
/// channel, of which a `MemoryStorage` is made for each worker.
#[derive(Clone)]
pub(crate) struct Memory {
    tasks: UnboundedSender<Task<Message>>,
    receiver: Arc<Mutex<UnboundedReceiver<Task<Message>>>>,
    /// The idempotency keys that there were.
    keys: Arc<Mutex<HashSet<String>>>,
    /// How many tasks have not ended.
    left: Arc<watch::Sender<usize>>,
    fault: Arc<Mutex<Fault>>,
    told: Arc<Mutex<Vec<Told>>>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        let (tasks, receiver) = unbounded();
        Self {
            tasks,
            receiver: Arc::new(Mutex::new(receiver)),
            keys: Arc::default(),
            left: Arc::default(),
            fault: Arc::default(),
            told: Arc::default(),
        }
    }

    pub(crate) fn set_fault(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    pub(crate) fn left(&self) -> usize {
        *self.left.borrow()
    }

    pub(crate) fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    /// Takes out the task that was pushed first.
    pub(crate) fn take(&self) -> Option<Task<Message>> {
        let task = self.receiver.lock().unwrap().try_recv().ok()?;
        self.left.send_modify(|left| *left -= 1);
        Some(task)
    }

    pub(crate) fn take_message(&self) -> Option<Message> {
        Some(self.take()?.args)
    }

    fn storage(&self) -> MemoryStorage<Message> {
        let sink = self.tasks.clone().sink_map_err(MemoryStorageError::from);
        let receiver = self.receiver.clone();
        let tasks = stream::poll_fn(move |cx| receiver.lock().unwrap().poll_next_unpin(cx));
        MemoryStorage::new_with(MemorySink::new(Arc::new(lock::Mutex::new(Box::new(sink)))), Box::pin(tasks))
    }

    /// Runs a worker of apalis until this completes.
    pub(crate) async fn work_until(
        &self,
        handler: JobHandler,
        stop: impl Future<Output = ()> + Send + 'static,
    ) {
        let seen = Seen { handler, memory: self.clone() };
        let worker = WorkerBuilder::new("in memory").backend(self.storage()).build(seen);
        let stop = async {
            stop.await;
            Ok::<_, WorkerError>(())
        };
        worker.run_until(stop).await.unwrap();
    }

    /// Runs a worker of apalis until no task is left.
    pub(crate) async fn work(&self, handler: JobHandler) {
        let mut left = self.left.subscribe();
        self.work_until(handler, async move { drop(left.wait_for(|left| *left == 0).await) }).await;
    }
}

/// Notes what a handler tells apalis.
#[derive(Clone)]
struct Seen {
    handler: JobHandler,
    memory: Memory,
}

impl Service<Task<Message>> for Seen {
    type Response = ();
    type Error = BoxDynError;
    type Future = BoxFuture<'static, Result<(), BoxDynError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxDynError>> {
        self.handler.poll_ready(cx)
    }

    fn call(&mut self, task: Task<Message>) -> Self::Future {
        let (handled, memory) = (self.handler.call(task), self.memory.clone());
        Box::pin(async move {
            let result = handled.await;
            memory.told.lock().unwrap().push(told(&result));
            memory.left.send_modify(|left| *left -= 1);
            result
        })
    }
}

pub(crate) fn told(result: &Result<(), BoxDynError>) -> Told {
    match result {
        Ok(()) => Told::Done,
        Err(error) if error.is::<AbortError>() => Told::Aborted(error.to_string()),
        Err(error) if error.is::<RetryAfterError>() || error.is::<DeferredError>() => Told::RetryAfter,
        Err(error) => Told::Failed(error.to_string()),
    }
}

impl Sink<Task<Message>> for Memory {
    type Error = MemoryStorageError;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), MemoryStorageError>> {
        let mut fault = self.fault.lock().unwrap();
        match *fault {
            Fault::None | Fault::Fails(0) => Poll::Ready(Ok(())),
            Fault::Fails(left) => {
                *fault = Fault::Fails(left - 1);
                Poll::Ready(Err(MemoryStorageError::Other("the storage is away".into())))
            }
            // Nobody wakes it: its caller has to give up.
            Fault::Hangs => Poll::Pending,
            Fault::Panics => {
                drop(fault);
                panic!("on purpose")
            }
        }
    }

    fn start_send(self: Pin<&mut Self>, task: Task<Message>) -> Result<(), MemoryStorageError> {
        if self.keys.lock().unwrap().insert(task.idempotency_key().unwrap().to_owned()) {
            self.left.send_modify(|left| *left += 1);
            self.tasks.unbounded_send(task).map_err(|error| error.into_send_error())?;
        }
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), MemoryStorageError>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), MemoryStorageError>> {
        Poll::Ready(Ok(()))
    }
}

/// Only pushed to: [`Memory::storage`] is what a worker polls.
impl Backend for Memory {
    type Task = Task<Message>;
    type Error = MemoryStorageError;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), MemoryStorageError>> {
        unreachable!("no worker polls it")
    }

    fn poll_next(
        &mut self,
        _: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Option<Result<Self::Task, MemoryStorageError>>> {
        unreachable!("no worker polls it")
    }

    fn poll_close(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), MemoryStorageError>> {
        unreachable!("no worker polls it")
    }
}

impl BackendConfig for Memory {
    type Args = Message;
    type Id = RandomId;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = Identity;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Identity {
        Identity::new()
    }
}
