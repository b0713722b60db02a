//! The suite for queues, in memory and on the Redis of `DEFER_TEST_REDIS`.

// Clippy allows `unwrap` in functions that are tests, but not in the helpers and jobs beside them.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use defer_apalis::ApalisQueue;
use defer_core::{
    BoxError, BoxFuture, Runner,
    queue::{Envelope, Queue},
    testing::{Note, Place, Retried, check_queue},
};
use support::memory::Memory;

/// A queue with the storage to which it pushes.
#[derive(Clone)]
struct InMemory {
    queue: ApalisQueue,
    memory: Memory,
}

impl InMemory {
    fn new() -> Self {
        let memory = Memory::new();
        Self { queue: ApalisQueue::new(memory.clone()), memory }
    }
}

impl Queue for InMemory {
    fn push(&self, jobs: Vec<Envelope>) -> BoxFuture<'_, Result<(), BoxError>> {
        self.queue.push(jobs)
    }
}

impl Place for InMemory {
    type Queue = Self;

    async fn connect(&self) -> Self {
        self.clone()
    }

    async fn work(queue: Self, runner: Runner) {
        let handler = queue.queue.handler(runner).job::<Note>().job::<Retried>();
        queue.memory.work(handler).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storage_in_memory_conforms() {
    check_queue(async || InMemory::new()).await;
}

#[cfg(feature = "_servers")]
mod on_redis {
    use super::*;

    /// A queue with the place in which a worker finds it.
    #[derive(Clone)]
    struct InRedis {
        queue: ApalisQueue,
        place: support::redis::Place,
    }

    impl Queue for InRedis {
        fn push(&self, jobs: Vec<Envelope>) -> BoxFuture<'_, Result<(), BoxError>> {
            self.queue.push(jobs)
        }
    }

    struct OnRedis(support::redis::Place);

    impl Place for OnRedis {
        type Queue = InRedis;

        async fn connect(&self) -> InRedis {
            InRedis { queue: ApalisQueue::new(self.0.storage().await), place: self.0.clone() }
        }

        async fn work(queue: InRedis, runner: Runner) {
            let handler = queue.queue.handler(runner).job::<Note>().job::<Retried>();
            queue.place.work(handler).await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn redis_conforms() {
        check_queue(async || OnRedis(support::redis::Place::new())).await;
    }
}
