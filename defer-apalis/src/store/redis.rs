//! Redis: apalis' keys, and two sorted sets of our own by which ended jobs are found again.

use std::{fmt, sync::LazyLock, time::Duration};

use apalis_core::worker::context::WorkerContext;
use apalis_redis::{Config, queries};
use defer_core::{
    BoxFuture, JobId, JobStatus,
    queue::QueueCounts as Counts,
    queue::{Envelope, FailedJob},
};
use redis::{AsyncCommands, Script, ToRedisArgs, aio::ConnectionManager};

use super::{
    interface::{DEAD_AFTER, Store, Stored},
    job::{self, Fate, Finished, Taken},
    task,
};
use crate::error::Error;

/// How many jobs a script moves at once: Lua's stack has room for some thousands.
const BATCH: usize = 1_000;

pub(crate) struct Redis {
    connection: ConnectionManager,
    config: Config,
}

/// Frees the jobs of one worker, except those that are keys of `kept`.
const FREE: &str = "
local function free(worker, attempts, now, kept)
    local inflight = KEYS[2] .. ':' .. worker
    for _, id in ipairs(redis.call('SMEMBERS', inflight)) do
        if not kept[id] then
            local meta = KEYS[3] .. ':' .. id
            redis.call('HINCRBY', meta, 'attempts', attempts)
            redis.call('HSET', meta, 'status', 'Pending')
            redis.call('ZADD', KEYS[4], now, id)
            redis.call('SREM', inflight, id)
        end
    end
end
";

/// Says that a worker lives, and frees the jobs of those that were silent too long. `ARGV`: worker, seconds.
static HEARTBEAT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "{FREE}
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now, ARGV[1])
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], 0, now - tonumber(ARGV[2]))) do
    free(worker, 1, now, {{}})
    redis.call('ZREM', KEYS[1], worker)
end
return 1"
    ))
});

/// Frees the jobs of a worker that is gone. `ARGV`: worker.
static UNREGISTER: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "{FREE} free(ARGV[1], 0, redis.call('TIME')[1], {{}}) redis.call('ZREM', KEYS[1], ARGV[1]) return 1"
    ))
});

/// Frees the jobs of a worker, except some. `ARGV`: worker, then their ids.
static RELEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "{FREE}
local kept = {{}}
for i = 2, #ARGV do kept[ARGV[i]] = true end
free(ARGV[1], 0, redis.call('TIME')[1], kept)
return 1"
    ))
});

/// Moves jobs that are due to where apalis fetches them. Its own script does that for all of them at once, which fails for
/// some thousands.
static PROMOTE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local due = redis.call('ZRANGEBYSCORE', KEYS[1], 0, ARGV[1], 'LIMIT', 0, ARGV[2])
if #due > 0 then
    redis.call('RPUSH', KEYS[2], unpack(due))
    redis.call('ZREM', KEYS[1], unpack(due))
end
return #due",
    )
});

/// Notes how jobs ended. `ARGV`: now, then for each its id, status, attempts, result and when it runs again.
static FINISH: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local now = ARGV[1]
for i = 2, #ARGV, 5 do
    local id, status, attempts, result, again = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
    if redis.call('SREM', KEYS[1], id) == 1 then
        redis.call('HSET', KEYS[2] .. ':' .. id, 'status', status, 'attempts', attempts, 'result', result, 'done_at', now)
        if status == 'Pending' then
            redis.call('ZADD', KEYS[3], again, id)
        elseif status == 'Done' then
            redis.call('SADD', KEYS[4], id)
            redis.call('ZADD', KEYS[6], now, id)
        else
            redis.call('SADD', KEYS[5], id)
            redis.call('ZADD', KEYS[7], now, id)
        end
    end
end
return 1",
    )
});

/// Counts the jobs, all at one moment.
static COUNTS: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local running = 0
for _, worker in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    running = running + redis.call('SCARD', KEYS[2] .. ':' .. worker)
end
local pending = redis.call('LLEN', KEYS[3]) + redis.call('ZCARD', KEYS[4])
local due = redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')[2]
return {pending, running, redis.call('ZCARD', KEYS[5]), redis.call('ZCARD', KEYS[6]), due or false}",
    )
});

/// Returns a job's status and result. `ARGV`: id. apalis does not write which jobs run: their workers have them.
static STATUS: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local job = redis.call('HMGET', KEYS[3] .. ':' .. ARGV[1], 'status', 'result')
if job[1] == 'Pending' then
    for _, worker in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
        if redis.call('SISMEMBER', KEYS[2] .. ':' .. worker, ARGV[1]) == 1 then return {'Running', false} end
    end
end
return job",
    )
});

/// Runs a failed job again. `ARGV`: id.
static RETRY: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('SREM', KEYS[2], ARGV[1])
redis.call('HSET', KEYS[3] .. ':' .. ARGV[1], 'status', 'Pending', 'attempts', 0)
redis.call('ZADD', KEYS[4], redis.call('TIME')[1], ARGV[1])
return 1",
    )
});

/// Deletes jobs that succeeded before `ARGV[1]`, at most `ARGV[2]`.
static FORGET: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local old = redis.call('ZRANGEBYSCORE', KEYS[1], 0, ARGV[1], 'LIMIT', 0, ARGV[2])
for _, id in ipairs(old) do
    redis.call('ZREM', KEYS[1], id)
    redis.call('SREM', KEYS[2], id)
    redis.call('HDEL', KEYS[3], id)
    redis.call('DEL', KEYS[4] .. ':' .. id)
end
return #old",
    )
});

impl Redis {
    pub(crate) async fn connect(url: &str, queue: &str) -> Result<Self, Error> {
        let client = redis::Client::open(url).map_err(Error::store)?;
        let connection = ConnectionManager::new(client).await.map_err(Error::store)?;
        Ok(Self { connection, config: Config::default().queue(queue) })
    }

    /// Where jobs are kept that succeeded, by when they did.
    fn done(&self) -> String {
        format!("{}:by-time", self.config.done_jobs_set())
    }

    /// Where jobs are kept that failed for good, by when they did.
    fn dead(&self) -> String {
        format!("{}:by-time", self.config.dead_jobs_set())
    }

    fn inflight(&self, worker: &str) -> String {
        format!("{}:{worker}", self.config.inflight_jobs_set())
    }

    /// Runs one of the scripts that free jobs.
    async fn free(&self, script: &Script, worker: &str, args: impl ToRedisArgs) -> Result<(), Error> {
        let config = &self.config;
        let mut script = script.key(config.workers_set());
        script.key(config.inflight_jobs_set()).key(config.job_meta_hash()).key(config.scheduled_jobs_set());
        script.arg(worker).arg(args);
        let freed: Result<u32, _> = script.invoke_async(&mut self.connection.clone()).await;
        freed.map_err(Error::store).map(drop)
    }
}

impl Store for Redis {
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    fn database(&self) -> &'static str {
        "Redis"
    }

    fn push<'a>(&'a self, jobs: &'a [Envelope]) -> Stored<'a, ()> {
        Box::pin(async move {
            // The key of the data is the id, which is not stored twice. A key of its own for that would never be deleted.
            let tasks: Vec<_> = jobs.iter().map(task::task).collect();
            let pushed = queries::push_tasks(&mut self.connection.clone(), &self.config, &tasks).await;
            pushed.map_err(Error::store).map(drop)
        })
    }

    fn register<'a>(&'a self, worker: &'a str) -> Stored<'a, ()> {
        self.heartbeat(worker)
    }

    fn heartbeat<'a>(&'a self, worker: &'a str) -> Stored<'a, ()> {
        Box::pin(self.free(&HEARTBEAT, worker, DEAD_AFTER.as_secs()))
    }

    fn unregister<'a>(&'a self, worker: &'a str) -> Stored<'a, ()> {
        Box::pin(self.free(&UNREGISTER, worker, None::<String>))
    }

    fn release<'a>(&'a self, worker: &'a str, except: &'a [String]) -> Stored<'a, ()> {
        Box::pin(self.free(&RELEASE, worker, except))
    }

    fn take<'a>(&'a self, worker: &'a str, jobs: usize) -> Stored<'a, Vec<Taken>> {
        Box::pin(async move {
            let mut connection = self.connection.clone();
            loop {
                let mut promote = PROMOTE.key(self.config.scheduled_jobs_set());
                promote.key(self.config.active_jobs_list()).arg(task::now()).arg(BATCH);
                let promoted: usize = promote.invoke_async(&mut connection).await.map_err(Error::store)?;
                if promoted < BATCH {
                    break;
                }
            }
            let config = self.config.clone().batch_size(jobs.clamp(1, BATCH));
            let tasks = queries::fetch_next(&mut connection, &WorkerContext::new(worker), &config).await;
            Ok(tasks.map_err(Error::store)?.into_iter().map(task::taken).collect())
        })
    }

    fn finish<'a>(&'a self, worker: &'a str, jobs: &'a [Finished]) -> Stored<'a, ()> {
        Box::pin(async move {
            let config = &self.config;
            let mut finish = FINISH.key(self.inflight(worker));
            finish.key(config.job_meta_hash()).key(config.scheduled_jobs_set());
            finish.key(config.done_jobs_set()).key(config.dead_jobs_set()).key(self.done()).key(self.dead());
            finish.arg(task::now());
            for job in jobs {
                let (status, _, delay) = job.row();
                let result = match &job.fate {
                    Fate::Failed { error } | Fate::Retry { error, .. } => serde_json::json!({ "Err": error }),
                    Fate::Done | Fate::Release { .. } => serde_json::json!({ "Ok": null }),
                };
                finish.arg(&job.id).arg(status).arg(job.attempts).arg(result.to_string());
                finish.arg(delay.map_or(0, task::after));
            }
            let finished: Result<u32, _> = finish.invoke_async(&mut self.connection.clone()).await;
            finished.map_err(Error::store).map(drop)
        })
    }

    fn pushed(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    fn counts(&self) -> Stored<'_, Counts> {
        Box::pin(async move {
            let config = &self.config;
            let mut counts = COUNTS.key(config.workers_set());
            counts.key(config.inflight_jobs_set()).key(config.active_jobs_list());
            counts.key(config.scheduled_jobs_set()).key(self.done()).key(self.dead());
            let counted = counts.invoke_async(&mut self.connection.clone()).await;
            let (pending, running, done, failed, due): (u64, u64, u64, u64, Option<u64>) =
                counted.map_err(Error::store)?;
            let oldest_due = due.and_then(|due| task::now().checked_sub(due)).map(Duration::from_secs);
            let mut counts = Counts::default();
            (counts.pending, counts.running, counts.done, counts.failed) = (pending, running, done, failed);
            counts.oldest_due = oldest_due;
            Ok(counts)
        })
    }

    fn failed(&self, limit: usize) -> Stored<'_, Vec<FailedJob>> {
        Box::pin(async move {
            let mut connection = self.connection.clone();
            let last = isize::try_from(limit).unwrap_or(isize::MAX) - 1;
            let ids: Vec<String> = if limit == 0 {
                Vec::new()
            } else {
                connection.zrevrange(self.dead(), 0, last).await.map_err(Error::store)?
            };
            let mut failed = Vec::with_capacity(ids.len());
            for id in ids {
                let meta = format!("{}:{id}", self.config.job_meta_hash());
                let (name, attempts, result): (Option<String>, Option<i64>, Option<String>) =
                    connection.hmget(meta, &[job::NAME, "attempts", "result"]).await.map_err(Error::store)?;
                failed.extend(job::failed(
                    &id,
                    name.as_ref(),
                    attempts.unwrap_or_default(),
                    result.as_deref(),
                ));
            }
            Ok(failed)
        })
    }

    fn status(&self, id: JobId) -> Stored<'_, Option<JobStatus>> {
        Box::pin(async move {
            let config = &self.config;
            let mut status = STATUS.key(config.workers_set());
            status.key(config.inflight_jobs_set()).key(config.job_meta_hash());
            let found = status.arg(id.to_string()).invoke_async(&mut self.connection.clone()).await;
            let (status, result): (Option<String>, Option<String>) = found.map_err(Error::store)?;
            Ok(status.map(|status| job::status(&status, result.as_deref())))
        })
    }

    fn retry(&self, id: JobId) -> Stored<'_, bool> {
        Box::pin(async move {
            let config = &self.config;
            let mut retry = RETRY.key(self.dead());
            retry.key(config.dead_jobs_set()).key(config.job_meta_hash()).key(config.scheduled_jobs_set());
            let retried: u32 = retry
                .arg(id.to_string())
                .invoke_async(&mut self.connection.clone())
                .await
                .map_err(Error::store)?;
            Ok(retried > 0)
        })
    }

    fn forget_done(&self, age: Duration) -> Stored<'_, u64> {
        Box::pin(async move {
            let config = &self.config;
            let before = task::now().saturating_sub(age.as_secs());
            let mut forgotten = 0;
            loop {
                let mut forget = FORGET.key(self.done());
                forget.key(config.done_jobs_set()).key(config.job_data_hash()).key(config.job_meta_hash());
                forget.arg(before).arg(BATCH);
                let count: usize =
                    forget.invoke_async(&mut self.connection.clone()).await.map_err(Error::store)?;
                forgotten += count as u64;
                if count < BATCH {
                    return Ok(forgotten);
                }
            }
        })
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").finish_non_exhaustive()
    }
}
