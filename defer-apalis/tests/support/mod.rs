//! What the tests share.

// Cargo compiles this into each test program.
#![allow(dead_code, reason = "each test program uses a part")]

pub(crate) mod memory;
#[cfg(feature = "_servers")]
pub(crate) mod process;
#[cfg(feature = "_servers")]
mod proxy;
#[cfg(feature = "_servers")]
pub(crate) mod redis;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use defer_core::{BoxError, Deferrable, Job, JobContext, JobError, JobResult, Policy, Runner, queue::Queue};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// The backoff of the tests' jobs.
pub(crate) const SOON: Duration = Duration::from_millis(20);

/// What a job does after it has written in the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Does {
    Succeeds,
    Fails,
    FailsFatally,
    Panics,
    /// Snoozes the first time.
    Snoozes,
    Hangs,
    /// Hangs, unless [`Journal::let_go`] was called.
    Waits,
}

/// A job with three attempts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) text: String,
    pub(crate) does: Does,
}

impl Note {
    pub(crate) fn new(text: &str, does: Does) -> Self {
        Self { text: text.to_owned(), does }
    }
}

/// One attempt of a job.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) attempt: u32,
    pub(crate) route: Option<String>,
    pub(crate) tenant: Option<String>,
    pub(crate) response: Option<(u16, &'static str)>,
    pub(crate) at: SystemTime,
}

/// What has run, in its order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    lines: Arc<Mutex<Vec<Line>>>,
    changed: Arc<watch::Sender<usize>>,
    lets_go: Arc<AtomicBool>,
}

impl Journal {
    pub(crate) fn lines(&self) -> Vec<Line> {
        self.lines.lock().unwrap().clone()
    }

    pub(crate) fn attempts(&self) -> Vec<u32> {
        self.lines().iter().map(|line| line.attempt).collect()
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        self.lines().into_iter().map(|line| line.text).collect()
    }

    /// Lets jobs end from now on that would wait.
    pub(crate) fn let_go(&self) {
        self.lets_go.store(true, Ordering::Relaxed);
    }

    /// Waits until so many attempts have begun.
    pub(crate) async fn until(&self, lines: usize) {
        self.changed.subscribe().wait_for(|now| *now >= lines).await.unwrap();
    }

    fn write(&self, line: Line) {
        self.lines.lock().unwrap().push(line);
        self.changed.send_modify(|lines| *lines += 1);
    }
}

/// What the layer captures of a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Tenant(pub(crate) String);

impl Job for Note {
    async fn run(&self, cx: &JobContext) -> JobResult {
        let journal = cx.state::<Journal>()?;
        let was_here = journal.texts().contains(&self.text);
        let request = cx.request();
        journal.write(Line {
            text: self.text.clone(),
            attempt: cx.attempt(),
            route: request.map(|request| {
                format!("{} {}", request.method(), request.matched_path().unwrap_or_default())
            }),
            tenant: cx.extension::<Tenant>().ok().map(|tenant| tenant.0),
            response: cx
                .response()
                .map(|response| (response.status().unwrap().as_u16(), response.delivery().as_str())),
            at: SystemTime::now(),
        });
        match self.does {
            Does::Succeeds => Ok(()),
            Does::Fails => Err(JobError::msg("it fails on purpose")),
            Does::FailsFatally => Err(JobError::msg("it fails on purpose").fatal()),
            Does::Panics => panic!("it panics on purpose"),
            Does::Snoozes if was_here => Ok(()),
            Does::Snoozes => Err(JobError::snooze(SOON)),
            Does::Waits if journal.lets_go.load(Ordering::Relaxed) => Ok(()),
            Does::Hangs | Does::Waits => std::future::pending().await,
        }
    }
}

impl Deferrable for Note {
    const NAME: &'static str = "Note";
    const POLICY: Policy = Policy::new().with_queue().with_tries(3).with_backoff(SOON, SOON);
    const ENCODE: Option<fn(&Self) -> Result<Vec<u8>, BoxError>> = Some(|job| Ok(serde_json::to_vec(job)?));
    const DECODE: Option<fn(&[u8]) -> Result<Self, BoxError>> = Some(|payload| {
        let job: Self = serde_json::from_slice(payload)?;
        assert_ne!(job.text, "panics when it is read", "on purpose");
        Ok(job)
    });
}

/// A runner whose durable jobs go to this queue.
pub(crate) fn runner(queue: impl Queue, journal: &Journal) -> Runner {
    Runner::builder().state(journal.clone()).queue(queue).build()
}
