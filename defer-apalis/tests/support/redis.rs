//! A queue on the Redis of `DEFER_TEST_REDIS`.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use apalis_core::{
    backend::ext::BackendExt as _,
    error::{BoxDynError, WorkerError},
    worker::builder::WorkerBuilder,
};
use apalis_redis::{Config, ConnectionManager, RedisStorage};
use defer_apalis::{JobHandler, Message};
use defer_core::JobId;
use redis::{Script, cmd};

/// A queue with a name of its own.
#[derive(Clone)]
pub(crate) struct Place {
    url: String,
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

    pub(crate) fn named(name: &str) -> Self {
        let url = std::env::var("DEFER_TEST_REDIS").expect("run this by scripts/with-servers.sh");
        Self::at(url, name)
    }

    fn at(url: String, name: &str) -> Self {
        // When an answer of Redis takes longer than the interval, an idle worker waits for the next heartbeat (apalis-core 1.0.0).
        // So that is soon. A worker is taken for dead after a minute without one, as by default.
        let beat = Duration::from_secs(1);
        Self { url, config: Config::default().queue(name).heartbeat_interval(beat).missed_heartbeats(60) }
    }

    /// Takes workers for dead when they were silent for two seconds. Only for one worker at a time: a busy machine can silence
    /// another.
    pub(crate) fn judging_soon(mut self) -> Self {
        self.config = self.config.missed_heartbeats(2);
        self
    }

    pub(crate) fn name(&self) -> &str {
        self.config.queue.as_ref()
    }

    pub(crate) async fn connection(&self) -> ConnectionManager {
        apalis_redis::connect(&*self.url).await.unwrap()
    }

    pub(crate) async fn storage(&self) -> RedisStorage<Message> {
        RedisStorage::new(self.connection().await).with_config(self.config.clone())
    }

    /// Runs a worker of apalis until this completes, or Redis fails.
    pub(crate) async fn try_work_until(
        &self,
        handler: JobHandler,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), BoxDynError> {
        let storage =
            RedisStorage::new(apalis_redis::connect(&*self.url).await?).with_config(self.config.clone());
        // Each worker needs a name of its own.
        let worker = WorkerBuilder::new(format!("worker-{}", JobId::unique()))
            .backend(storage.poll_with_interval(Duration::from_millis(20)))
            .build(handler);
        let stop = async {
            stop.await;
            Ok::<_, WorkerError>(())
        };
        // In a test with many of them, unoptimized, they would not fit on the stack.
        Ok(Box::pin(worker.run_until(stop)).await?)
    }

    pub(crate) async fn work_until(
        &self,
        handler: JobHandler,
        stop: impl Future<Output = ()> + Send + 'static,
    ) {
        self.try_work_until(handler, stop).await.unwrap();
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

/// A Redis server of one test, which writes each push to disk.
pub(crate) struct Server {
    port: u16,
    folder: tempfile::TempDir,
    child: Child,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let child = Self::spawn(port, &folder);
        let server = Self { port, folder, child };
        server.until_up().await;
        server
    }

    fn spawn(port: u16, folder: &tempfile::TempDir) -> Child {
        Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "yes", "--appendfsync", "always", "--dir"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed: see scripts/test.sh")
    }

    async fn until_up(&self) {
        while apalis_redis::connect(self.url()).await.is_err() {
            // It tells nobody.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn place(&self) -> Place {
        Place::at(self.url(), "jobs")
    }

    /// With SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) async fn restart(&mut self) {
        self.child = Self::spawn(self.port, &self.folder);
        self.until_up().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
