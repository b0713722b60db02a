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
use apalis_redis::{Client, Config, ConnectionManager, RedisError, RedisStorage};
use defer_apalis::{JobHandler, Message};
use defer_core::JobId;
use redis::{Script, aio::ConnectionManagerConfig, cmd};

use super::proxy;

/// A queue with a name of its own.
#[derive(Clone)]
pub(crate) struct Place {
    url: String,
    /// To which workers connect.
    worker_url: String,
    config: Config,
}

/// Counts what waits and what workers have, in one step: else a task could be missed on its way.
const LEFT: &str = "
    local taken = 0
    for _, inflight in ipairs(redis.call('keys', ARGV[1] .. ':inflight:*')) do
        taken = taken + redis.call('scard', inflight)
    end
    return {redis.call('zcard', KEYS[1]) + redis.call('llen', KEYS[2]), taken}
";

/// Connects with time for a slow machine: by default an answer may take 500 ms, and a connection a second.
async fn connect(url: &str) -> Result<ConnectionManager, RedisError> {
    let patience = Some(Duration::from_secs(60));
    let config =
        ConnectionManagerConfig::new().set_response_timeout(patience).set_connection_timeout(patience);
    Client::open(url)?.get_connection_manager_with_config(config).await
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::named(&format!("test-{}", JobId::unique()))
    }

    pub(crate) fn named(name: &str) -> Self {
        let url = std::env::var("DEFER_TEST_REDIS").expect("run this by scripts/with-servers.sh");
        Self::at(url, name)
    }

    fn at(url: String, name: &str) -> Self {
        // Others' deaths are noticed at a heartbeat, so that is soon. A worker is taken for dead after a minute without one.
        let beat = Duration::from_secs(1);
        let config = Config::default().queue(name).heartbeat_interval(beat).missed_heartbeats(60);
        Self { worker_url: url.clone(), url, config }
    }

    /// Lets its workers have each answer so much later.
    pub(crate) async fn late_for_workers(mut self, by: Duration) -> Self {
        self.worker_url = proxy::late(&self.url, by).await;
        self
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
        connect(&self.url).await.unwrap()
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
        let storage = RedisStorage::new(connect(&self.worker_url).await?).with_config(self.config.clone());
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

    /// Returns how many tasks wait, and how many workers have taken.
    pub(crate) async fn left(&self) -> (u64, u64) {
        let script = Script::new(LEFT);
        let mut count = script.key(self.config.scheduled_jobs_set());
        count.key(self.config.active_jobs_list()).arg(self.name());
        count.invoke_async(&mut self.connection().await).await.unwrap()
    }

    /// Waits until no task waits, and no worker has one.
    pub(crate) async fn until_empty(&self) {
        while self.left().await != (0, 0) {
            // Polled: Redis notifies nobody of its tasks.
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

/// A Redis server of one test, which writes each push to a file before it answers. A kill loses nothing that was written: only a
/// crash of the machine could.
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
            .args(["--appendonly", "yes", "--appendfsync", "no", "--dir"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed: see scripts/test.sh")
    }

    async fn until_up(&self) {
        while connect(&self.url()).await.is_err() {
            // Polled: it notifies nobody that it listens.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn place(&self) -> Place {
        Place::at(self.url(), "jobs")
    }

    /// Has it answer nobody for so long, and waits for that.
    pub(crate) async fn pause(&self, time: Duration) {
        let mut redis = self.place().connection().await;
        let millis = u64::try_from(time.as_millis()).unwrap();
        let pause = cmd("CLIENT").arg("PAUSE").arg(millis).exec_async(&mut redis).await;
        pause.unwrap();
        cmd("PING").exec_async(&mut redis).await.unwrap();
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
