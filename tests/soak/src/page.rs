//! The dashboard under a hundred thousand jobs a second: checks its memory, and its figures against the runner's.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use axum::Router;
use defer_axum::{Dashboard, Deferrable, Job, JobContext, JobError, JobResult, Runner, scope};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    time::MissedTickBehavior,
};

use crate::{Failure, memory};

/// The number of jobs deferred each millisecond. Some fail, each with its own error.
const JOBS: u64 = 100;
/// The largest ratio of the memory at the end to that after the first second.
const GROWTH: f64 = 1.2;

#[derive(Deferrable)]
struct Count {
    number: u64,
}

impl Job for Count {
    async fn run(&self, _: &JobContext) -> JobResult {
        if self.number % 1_000 == 1 {
            return Err(JobError::msg(format!("number {} failed", self.number)));
        }
        Ok(())
    }
}

#[derive(Deferrable)]
struct CountToo;

impl Job for CountToo {
    async fn run(&self, _: &JobContext) -> JobResult {
        Ok(())
    }
}

/// Prints the page's address, starts at a line of input, prints the counts, and stops at the end of its input.
pub(crate) async fn run(seconds: u64) -> Result<(), Failure> {
    let runner = Runner::builder().max_pending(1 << 20).build();
    let app = Router::new().nest("/jobs", Dashboard::new(&runner).into());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    tokio::spawn(defer_axum::serve(listener, app).into_future());
    println!("listening on http://{addr}/jobs");
    let mut line = String::new();
    let mut input = BufReader::new(tokio::io::stdin());
    input.read_line(&mut line).await?;

    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    // Catches up on missed ticks.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let begun = Instant::now();
    let mut early = 0;
    for tick in 0..seconds * 1_000 {
        ticks.tick().await;
        scope(&runner, async {
            for job in 0..JOBS / 2 {
                Count::defer(tick * JOBS + job);
                CountToo::defer();
            }
        })
        .await;
        if tick == 1_000 {
            early = memory::resident(std::process::id())?;
        }
    }
    runner.idle().await;
    let took = begun.elapsed();
    let late = memory::resident(std::process::id())?;

    let stats = runner.stats();
    let data = get(addr, "/jobs/data").await?;
    let totals = format!(
        "\"deferred\":{},\"taken\":0,\"succeeded\":{},\"failed\":{},",
        stats.deferred, stats.succeeded, stats.failed
    );
    if stats.deferred != seconds * 1_000 * JOBS || !data.contains(&totals) {
        return Err(format!("{stats:?} and {data}").into());
    }
    // Each type has half of the jobs, and one of them all failures.
    let half = stats.deferred / 2;
    for of_type in [
        format!(
            "\"name\":\"Count\",\"unfinished\":0,\"deferred\":{half},\"taken\":0,\"succeeded\":{}",
            half - stats.failed
        ),
        format!(
            "\"name\":\"CountToo\",\"unfinished\":0,\"deferred\":{half},\"taken\":0,\"succeeded\":{half}"
        ),
    ] {
        if !data.contains(&of_type) {
            return Err(format!("{of_type} is not in {data}").into());
        }
    }
    println!(
        "{} jobs in {took:.1?}: {:.0} a second, {} failed; the page's figures are the runner's",
        stats.deferred,
        stats.deferred as f64 / took.as_secs_f64(),
        stats.failed
    );
    println!(
        "memory after a second {:.1} MB, at the end {:.1} MB; the figures are {} bytes of JSON",
        early as f64 / 1e6,
        late as f64 / 1e6,
        data.len()
    );
    if late as f64 > early as f64 * GROWTH {
        return Err("memory grew".into());
    }
    // The viewer of the page decides how long this runs.
    input.read_to_string(&mut line).await?;
    Ok(())
}

async fn get(addr: SocketAddr, path: &str) -> Result<String, Failure> {
    let mut stream = TcpStream::connect(addr).await?;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nhost: soak\r\nconnection: close\r\n\r\n").as_bytes())
        .await?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await?;
    Ok(reply)
}
