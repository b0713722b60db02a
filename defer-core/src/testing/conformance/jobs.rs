//! The suite's jobs, and the journal that they write to.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{
    defer::defer,
    job::{
        context::JobContext,
        job::{Deferrable, Job},
    },
    model::{
        error::{JobError, JobResult},
        id::JobId,
        policy::Policy,
        request::RequestInfo,
        response::ResponseInfo,
    },
    primitives::sync::lock,
    store::codec::{Decode, Decoded, Encode},
};

/// The delay until a job of the suite runs again.
pub(super) const SOON: Duration = Duration::from_millis(20);

/// The behavior of a job of the suite, after it has written to the journal.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) enum Does {
    #[default]
    Succeeds,
    Fails,
    /// Fails with a different error, of two lines.
    FailsOtherwise,
    /// Snoozes the first time.
    Snoozes,
    /// Succeeds, after it has let other tasks run.
    Yields,
    /// Succeeds, and defers [`Note::child_of`] this.
    Defers,
}

macro_rules! job {
    ($(#[$doc:meta])* $name:ident, $aliases:expr, $policy:expr) => {
        $(#[$doc])*
        #[derive(Debug, Serialize, Deserialize)]
        pub struct $name {
            pub(super) text: String,
            pub(super) does: Does,
        }

        impl Job for $name {
            async fn run(&self, cx: &JobContext) -> JobResult {
                run(cx, &self.text, self.does).await
            }
        }

        impl Deferrable for $name {
            const NAME: &'static str = concat!("conformance::", stringify!($name));
            const POLICY: Policy = $policy;
            const ENCODE: Option<Encode<Self>> = Some(|job| Ok(serde_json::to_vec(job)?));
            const DECODE: Option<Decode<Self>> = Decoded::<Self>::DECODE;
            const ALIASES: &'static [&'static str] = $aliases;
        }
    };
}

job!(
    /// A job of [`check_queue`](super::check_queue), with one attempt. Register it with your worker.
    Note,
    &[Note::EARLIER],
    Policy::new().with_queue()
);

job!(
    /// A job of [`check_queue`](super::check_queue), with three attempts. Register it with your worker.
    Retried,
    &[],
    Policy::new().with_queue().with_tries(3).with_backoff(SOON, SOON)
);

impl Note {
    /// An earlier name of the type.
    pub(super) const EARLIER: &'static str = "früher: 'a' \"b\" %s {c}";

    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), does: Does::Succeeds }
    }

    /// Returns the text of the child of a job with this text.
    pub(super) fn child_of(text: &str) -> String {
        format!("child of {text}")
    }
}

/// One attempt of a job.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) id: JobId,
    pub(super) text: String,
    pub(super) attempt: u32,
    pub(super) route: Option<String>,
    pub(super) extension: Option<u64>,
    pub(super) response: Option<ResponseInfo>,
    pub(super) has_ended: bool,
}

/// The attempts that were made, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal {
    lines: Arc<Mutex<Vec<Line>>>,
    /// The number of jobs running at the same time.
    most_at_once: Arc<AtomicUsize>,
    changed: Arc<watch::Sender<()>>,
}

impl Journal {
    pub(super) fn lines(&self) -> Vec<Line> {
        lock(&self.lines).clone()
    }

    /// Returns the texts of the jobs that were started, in order.
    pub(super) fn texts(&self) -> Vec<String> {
        self.lines().into_iter().map(|line| line.text).collect()
    }

    /// Returns the attempts that were made, in order.
    pub(super) fn attempts(&self) -> Vec<u32> {
        self.lines().iter().map(|line| line.attempt).collect()
    }

    /// Returns the largest number of jobs that were running at the same time.
    pub(super) fn most_at_once(&self) -> usize {
        self.most_at_once.load(Relaxed)
    }

    /// Waits until a job with this text has run.
    pub(super) async fn has(&self, text: &str) {
        let mut changed = self.changed.subscribe();
        while !self.lines().iter().any(|line| line.text == text && line.has_ended) {
            // This never fails, because `self` has the sender.
            let _ = changed.changed().await;
        }
    }

    /// Notes a job that runs in memory.
    pub(super) fn note(&self, text: &str) {
        self.start(Line {
            id: JobId::unique(),
            text: text.to_owned(),
            attempt: 1,
            route: None,
            extension: None,
            response: None,
            has_ended: true,
        });
    }

    /// Returns the position of the line.
    fn start(&self, line: Line) -> usize {
        let mut lines = lock(&self.lines);
        lines.push(line);
        self.most_at_once.fetch_max(lines.iter().filter(|line| !line.has_ended).count(), Relaxed);
        let at = lines.len() - 1;
        drop(lines);
        self.changed.send_replace(());
        at
    }

    fn end(&self, at: usize) {
        lock(&self.lines)[at].has_ended = true;
        self.changed.send_replace(());
    }
}

async fn run(cx: &JobContext, text: &str, does: Does) -> JobResult {
    let journal = cx.state::<Journal>()?;
    let id = cx.id();
    let is_first = !journal.lines().iter().any(|line| line.id == id);
    let route = |request: &RequestInfo| {
        format!("{} {}", request.method(), request.matched_path().unwrap_or_default())
    };
    let at = journal.start(Line {
        id,
        text: text.to_owned(),
        attempt: cx.attempt(),
        route: cx.request().map(route),
        extension: cx.extension::<u64>().ok(),
        response: cx.response().cloned(),
        has_ended: false,
    });
    if let Does::Yields = does {
        tokio::time::sleep(SOON).await;
    }
    if let Does::Defers = does {
        defer(Note::new(Note::child_of(text)));
    }
    journal.end(at);
    match does {
        Does::Succeeds | Does::Yields | Does::Defers => Ok(()),
        Does::Fails => Err(JobError::msg("it fails on purpose")),
        Does::FailsOtherwise => Err(JobError::msg("it fails otherwise\nthan the others")),
        Does::Snoozes if is_first => Err(JobError::snooze(SOON)),
        Does::Snoozes => Ok(()),
    }
}
