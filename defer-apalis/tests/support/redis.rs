//! A queue on the Redis of `DEFER_TEST_REDIS`.

use std::{collections::BTreeMap, time::Duration};

use apalis_core::{backend::ext::BackendExt as _, error::WorkerError, worker::builder::WorkerBuilder};
use apalis_redis::{Config, ConnectionManager, RedisStorage};
use defer_apalis::{JobHandler, Message};
use defer_core::JobId;
use redis::{Script, cmd};

/// A queue with a name of its own.
#[derive(Clone)]
pub(crate) struct Place {
    config: Config,
}

/// Counts what waits and what workers have, in one step: else a task could be missed on its way.
const LEFT: &str = "
    local left = redis.call('zcard', KEYS[1]) + redis.call('llen', KEYS[2])
    for _, inflight in ipairs(redis.call('keys', ARGV[1] .. ':inflight:*')) do
        left = left + redis.call('scard', inflight)
    end
    return left
";

impl Place {
    pub(crate) fn new() -> Self {
        Self::named(&format!("test-{}", JobId::unique()))
    }

    /// Its workers are taken for dead when they were silent for two seconds.
    pub(crate) fn named(name: &str) -> Self {
        let beat = Duration::from_secs(1);
        Self { config: Config::default().queue(name).heartbeat_interval(beat).missed_heartbeats(2) }
    }

    pub(crate) fn name(&self) -> &str {
        self.config.queue.as_ref()
    }

    pub(crate) async fn connection(&self) -> ConnectionManager {
        let url = std::env::var("DEFER_TEST_REDIS").expect("run this by scripts/with-servers.sh");
        apalis_redis::connect(url).await.unwrap()
    }

    pub(crate) async fn storage(&self) -> RedisStorage<Message> {
        RedisStorage::new(self.connection().await).with_config(self.config.clone())
    }

    /// Runs a worker of apalis until this completes.
    pub(crate) async fn work_until(
        &self,
        handler: JobHandler,
        stop: impl Future<Output = ()> + Send + 'static,
    ) {
        let backend = self.storage().await.poll_with_interval(Duration::from_millis(20));
        // apalis-redis 1.0.0 takes a name again only after its worker was silent for long.
        let worker =
            WorkerBuilder::new(format!("worker-{}", JobId::unique())).backend(backend).build(handler);
        let stop = async {
            stop.await;
            Ok::<_, WorkerError>(())
        };
        // In a test with many of them, unoptimized, they would not fit on the stack.
        Box::pin(worker.run_until(stop)).await.unwrap();
    }

    /// Waits until no task waits, and no worker has one.
    pub(crate) async fn until_empty(&self) {
        let mut redis = self.connection().await;
        let script = Script::new(LEFT);
        let mut count = script.key(self.config.scheduled_jobs_set());
        count.key(self.config.active_jobs_list()).arg(self.name());
        while count.invoke_async::<u64>(&mut redis).await.unwrap() > 0 {
            // Redis tells nobody.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs a worker of apalis until no task is left.
    pub(crate) async fn work(&self, handler: JobHandler) {
        let place = self.clone();
        self.work_until(handler, async move { place.until_empty().await }).await;
    }

    /// Returns how many tasks have each status.
    pub(crate) async fn statuses(&self) -> BTreeMap<String, usize> {
        let mut redis = self.connection().await;
        let ids: Vec<String> =
            cmd("HKEYS").arg(self.config.job_data_hash()).query_async(&mut redis).await.unwrap();
        let mut statuses = BTreeMap::new();
        for id in ids {
            let key = format!("{}:{id}", self.config.job_meta_hash());
            let status: String = cmd("HGET").arg(key).arg("status").query_async(&mut redis).await.unwrap();
            *statuses.entry(status).or_default() += 1;
        }
        statuses
    }

    /// Returns the second at which each delayed task is due.
    pub(crate) async fn scheduled(&self) -> Vec<u64> {
        let mut redis = self.connection().await;
        let scheduled: Vec<(String, u64)> = cmd("ZRANGE")
            .arg(self.config.scheduled_jobs_set())
            .arg(0)
            .arg(-1)
            .arg("WITHSCORES")
            .query_async(&mut redis)
            .await
            .unwrap();
        scheduled.into_iter().map(|(_, second)| second).collect()
    }
}
