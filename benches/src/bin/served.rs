//! `served WAY:JOB`: a server for load tests. It prints `listening on http://127.0.0.1:PORT`, and answers `/` with a
//! few bytes and `/large` with a megabyte.
//!
//! The way says what runs the job of each request: `inline`, `spawn`, `tracker`, `defer`, or `defer-under-axum`. The job
//! is `none`, `trivial`, `cpu`, `cpu-timer`, or `sleep-MS`. `inline:none` is axum alone, and `defer:none` shows what the layer
//! costs requests that defer nothing.

use std::{
    future::{Future, ready},
    io,
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use axum::{Router, body::Bytes, routing::MethodRouter, routing::get};
use defer_axum::{DeferLayer, Deferrable, Job, JobContext, JobResult, Runner, defer};
use rustix::time::{ClockId, clock_gettime};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

const SMALL: Bytes = Bytes::from_static(b"hello");
const LARGE: Bytes = Bytes::from_static(&[b'x'; 1024 * 1024]);

/// The work of a job, deferred or spawned.
trait Work: Copy + Send + Sync + 'static {
    fn work(self) -> impl Future<Output = ()> + Send;

    /// The work of the handler between the start of the job and its answer.
    fn meanwhile(self) -> impl Future<Output = ()> + Send {
        ready(())
    }
}

/// The least work that is still observable.
#[derive(Clone, Copy)]
struct Trivial;

impl Work for Trivial {
    async fn work(self) {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
}

/// 2 ms of processor time, next to a handler that waits 1 ms for something else.
#[derive(Clone, Copy)]
struct Cpu {
    wait: Wait,
}

#[derive(Clone, Copy)]
enum Wait {
    /// Waits as for another server's answer, which arrives at any time.
    Exact,
    /// Waits with Tokio's timer, which rounds up: to about the length of the job.
    Timer,
}

impl Work for Cpu {
    async fn work(self) {
        // The thread's own time: a preempted job still has all of its work to do.
        let end = thread_time() + Duration::from_millis(2);
        while thread_time() < end {}
    }

    async fn meanwhile(self) {
        const TIME: Duration = Duration::from_millis(1);
        match self.wait {
            Wait::Exact => {
                let wait = tokio::task::spawn_blocking(|| std::thread::sleep(TIME));
                wait.await.expect("a sleep does not panic");
            }
            Wait::Timer => tokio::time::sleep(TIME).await,
        }
    }
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("a thread has used no negative time")
}

/// Waits, as for another server.
#[derive(Clone, Copy)]
struct Sleep(Duration);

impl Work for Sleep {
    async fn work(self) {
        // Tokio rounds up to the next millisecond, so even an empty sleep would last one.
        if !self.0.is_zero() {
            tokio::time::sleep(self.0).await;
        }
    }
}

#[derive(Deferrable)]
struct Deferred<W: Work> {
    work: W,
}

impl<W: Work> Job for Deferred<W> {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        self.work.work().await;
        Ok(())
    }
}

/// The part of the server that runs a request's job.
#[derive(Clone, Copy)]
enum Way {
    /// The handler runs it before it answers.
    Inline,
    Spawn,
    Tracker,
    /// `defer_axum::serve` runs it once the response was sent.
    Defer,
    /// `axum::serve` under a `DeferLayer` runs it once the response's body has ended.
    DeferUnderAxum,
}

#[derive(Clone, Copy)]
enum JobKind {
    None,
    Trivial,
    Cpu(Wait),
    Sleep(Duration),
}

struct Variant {
    way: Way,
    job: JobKind,
}

impl FromStr for Variant {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let (way, job) = s.split_once(':').ok_or_else(|| format!("`{s}` is not `way:job`"))?;
        Ok(Self { way: way.parse()?, job: job.parse()? })
    }
}

impl FromStr for Way {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "inline" => Ok(Self::Inline),
            "spawn" => Ok(Self::Spawn),
            "tracker" => Ok(Self::Tracker),
            "defer" => Ok(Self::Defer),
            "defer-under-axum" => Ok(Self::DeferUnderAxum),
            _ => Err(format!("`{s}` is not inline, spawn, tracker, defer or defer-under-axum")),
        }
    }
}

impl FromStr for JobKind {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let sleep = || s.strip_prefix("sleep-")?.parse().ok();
        match s {
            "none" => Ok(Self::None),
            "trivial" => Ok(Self::Trivial),
            "cpu" => Ok(Self::Cpu(Wait::Exact)),
            "cpu-timer" => Ok(Self::Cpu(Wait::Timer)),
            _ => match sleep() {
                Some(ms) => Ok(Self::Sleep(Duration::from_millis(ms))),
                None => Err(format!("`{s}` is not none, trivial, cpu, cpu-timer or sleep-MS")),
            },
        }
    }
}

impl Variant {
    fn app(&self) -> Router {
        Router::new().route("/", self.route(SMALL)).route("/large", self.route(LARGE))
    }

    fn route(&self, answer: Bytes) -> MethodRouter {
        match self.job {
            JobKind::None => get(async move || answer),
            JobKind::Trivial => self.way.route(Trivial, answer),
            JobKind::Cpu(wait) => self.way.route(Cpu { wait }, answer),
            JobKind::Sleep(time) => self.way.route(Sleep(time), answer),
        }
    }
}

impl Way {
    /// A separate handler for each way, so that none carries another's state.
    fn route<W: Work>(self, work: W, answer: Bytes) -> MethodRouter {
        match self {
            Self::Inline => get(async move || {
                work.work().await;
                work.meanwhile().await;
                answer
            }),
            Self::Spawn => get(async move || {
                tokio::spawn(work.work());
                work.meanwhile().await;
                answer
            }),
            Self::Tracker => {
                let tracker = TaskTracker::new();
                get(async move || {
                    tracker.spawn(work.work());
                    work.meanwhile().await;
                    answer
                })
            }
            Self::Defer | Self::DeferUnderAxum => get(async move || {
                defer(Deferred { work });
                work.meanwhile().await;
                answer
            }),
        }
    }

    async fn serve(self, listener: TcpListener, app: Router) -> io::Result<()> {
        // So many that no job ever waits for another, as with the other ways. The defaults would limit these tests:
        // 1024 jobs of 50 ms at a time are 20,480 per second.
        let runner = Runner::builder().max_running(1 << 20).max_pending(1 << 20).build();
        let layer = DeferLayer::new(runner);
        match self {
            Self::Inline | Self::Spawn | Self::Tracker => axum::serve(listener, app).await,
            Self::DeferUnderAxum => axum::serve(listener, app.layer(layer)).await,
            Self::Defer => defer_axum::serve(listener, app.layer(layer)).await,
        }
    }
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let argument = std::env::args().nth(1).unwrap_or_default();
    let variant: Variant = argument.parse().map_err(io::Error::other)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    variant.way.serve(listener, variant.app()).await
}
