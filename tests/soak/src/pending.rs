//! A great many waiting jobs: measures the memory of each, and the latency of requests while they are worked off.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use axum::{Router, routing::get};
use defer_axum::{Deferrable, Job, JobContext, JobResult, Runner, defer_fn, scope};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
    sync::Semaphore,
};

use crate::{Failure, memory};

/// The most bytes that a waiting job may take, and the most that its request may take in addition.
const JOB_BYTES: u64 = 128;
const REQUEST_BYTES: u64 = 480;

/// The smallest possible job.
#[derive(Deferrable)]
struct Small {
    _number: u64,
}

static RAN: AtomicU64 = AtomicU64::new(0);

impl Job for Small {
    async fn run(&self, _: &JobContext) -> JobResult {
        RAN.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Measures each case in a fresh process, because memory that was freed earlier would be reused.
pub(crate) async fn run(jobs: u64) -> Result<(), Failure> {
    for per_request in [jobs, 10, 1] {
        let measuring = Command::new(std::env::current_exe()?)
            .args(["wait", &jobs.to_string(), &per_request.to_string()])
            .status()
            .await?;
        if !measuring.success() {
            return Err(format!("{per_request} jobs to a request").into());
        }
    }
    Ok(())
}

/// Measures with this many jobs per request.
pub(crate) async fn measure(jobs: u64, per_request: u64) -> Result<(), Failure> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    let app = Router::new().route("/", get(|| async { "done" }));
    tokio::spawn(defer_axum::serve(listener, app).into_future());
    let runner = Runner::builder().max_pending(jobs as usize).build();
    let release = hold(&runner).await;
    let before = memory::resident(std::process::id())?;
    for request in 0..jobs / per_request {
        scope(&runner, async {
            for job in 0..per_request {
                Small::defer(request * per_request + job);
            }
        })
        .await;
    }
    let bytes = memory::resident(std::process::id())?.saturating_sub(before) / jobs;
    if runner.stats().pending != jobs {
        return Err(format!("{} are pending, not {jobs}", runner.stats().pending).into());
    }
    let probe = Probe::start(addr);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let begun = Instant::now();
    release.add_permits(Semaphore::MAX_PERMITS / 2);
    runner.idle().await;
    let took = begun.elapsed();
    let Probed { served, longest, longest_before } = probe.stop(begun)?;
    println!("{jobs} pending, {per_request} to a request: {bytes} bytes each; worked off in {took:.1?}");
    println!(
        "    {served} requests served meanwhile, the longest wait {longest:.1?} ({longest_before:.1?} before)"
    );
    if RAN.load(Ordering::Relaxed) != jobs {
        return Err(format!("{} jobs ran, not {jobs}", RAN.load(Ordering::Relaxed)).into());
    }
    if bytes > JOB_BYTES + REQUEST_BYTES / per_request {
        return Err(format!("{bytes} bytes for each pending job").into());
    }
    // The reader of the figures judges the longest wait: a busy machine would fail any limit here.
    if served == 0 {
        return Err("no request was served meanwhile".into());
    }
    Ok(())
}

/// Occupies all of the runner's permits until the returned semaphore has some.
async fn hold(runner: &Runner) -> Arc<Semaphore> {
    let release = Arc::new(Semaphore::new(0));
    let started = Arc::new(Semaphore::new(0));
    for _ in 0..1024 {
        let (until, starts) = (release.clone(), started.clone());
        scope(runner, async {
            defer_fn(move |_| async move {
                starts.add_permits(1);
                drop(until.acquire().await);
            })
        })
        .await;
    }
    drop(started.acquire_many(1024).await);
    release
}

/// A client on its own thread that sends one request after another.
struct Probe {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<std::io::Result<Vec<(Instant, Instant)>>>,
}

struct Probed {
    served: usize,
    longest: Duration,
    longest_before: Duration,
}

impl Probe {
    fn start(addr: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let until = stop.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut stream = TcpStream::connect(addr).await?;
                let mut requests = Vec::new();
                while !until.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    stream.write_all(b"GET / HTTP/1.1\r\nhost: soak\r\n\r\n").await?;
                    let mut response = Vec::with_capacity(256);
                    while !response.ends_with(b"\r\n\r\ndone") {
                        stream.read_buf(&mut response).await?;
                    }
                    requests.push((begun, Instant::now()));
                    // One request after another, so that the client measures latency and adds no load.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Ok(requests)
            })
        });
        Self { stop, thread }
    }

    /// Stops the probe. Returns the figures after `since`, and the longest request before it.
    fn stop(self, since: Instant) -> Result<Probed, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let requests = self.thread.join().map_err(|_| "the client panicked")??;
        let (before, meanwhile): (Vec<_>, Vec<_>) = requests.into_iter().partition(|(_, end)| *end < since);
        let longest = |requests: &[(Instant, Instant)]| {
            requests.iter().map(|(begun, end)| *end - *begun).max().unwrap_or_default()
        };
        Ok(Probed { served: meanwhile.len(), longest: longest(&meanwhile), longest_before: longest(&before) })
    }
}
