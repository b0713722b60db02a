//! Job types that say in a file what they did.

use std::{
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use defer_axum::{Deferrable, Job, JobContext, JobError, JobResult};
use serde::{Deserialize, Serialize};

/// Where jobs say what they did. Part of a runner's state.
#[derive(Clone, Debug)]
pub struct Log(pub PathBuf);

impl Log {
    pub fn note(&self, what: impl std::fmt::Display) {
        // One write for each line, so that lines of several processes do not mix.
        let mut file = OpenOptions::new().create(true).append(true).open(&self.0).unwrap();
        file.write_all(format!("{what}\n").as_bytes()).unwrap();
    }

    pub fn lines(&self) -> Vec<String> {
        lines(&self.0)
    }
}

pub fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Notes its number.
#[derive(Clone, Debug, Deferrable, Serialize, Deserialize)]
#[defer(queue, tries = 3)]
pub struct Note {
    pub number: u32,
}

impl Job for Note {
    async fn run(&self, cx: &JobContext) -> JobResult {
        tokio::time::sleep(Duration::from_millis(2)).await;
        cx.state::<Log>()?.note(self.number);
        Ok(())
    }
}

/// Notes its number, and waits until each of these logs has a line: until all workers have such a job.
#[derive(Debug, Deferrable, Serialize, Deserialize)]
#[defer(queue)]
pub struct Meets {
    pub number: u32,
    pub logs: Vec<PathBuf>,
}

impl Job for Meets {
    async fn run(&self, cx: &JobContext) -> JobResult {
        cx.state::<Log>()?.note(self.number);
        while self.logs.iter().any(|log| lines(log).is_empty()) {
            // Another process writes the file, and tells nobody.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }
}

/// Kills its process.
#[derive(Debug, Deferrable, Serialize, Deserialize)]
#[defer(queue, tries = 2)]
pub struct Crash;

impl Job for Crash {
    async fn run(&self, cx: &JobContext) -> JobResult {
        cx.state::<Log>()?.note(format_args!("crash {}", cx.attempt()));
        std::process::abort()
    }
}

/// Fails in its first attempts, and notes each.
#[derive(Debug, Deferrable, Serialize, Deserialize)]
#[defer(queue, tries = 3, backoff = "1s")]
pub struct Fails {
    pub times: u32,
}

impl Job for Fails {
    async fn run(&self, cx: &JobContext) -> JobResult {
        cx.state::<Log>()?.note(format_args!("attempt {}", cx.attempt()));
        if cx.attempt() <= self.times { Err(JobError::msg("the mail server is away")) } else { Ok(()) }
    }
}

/// Snoozes so many times before it succeeds, and notes each.
#[derive(Debug, Deferrable, Serialize, Deserialize)]
#[defer(queue, tries = 1)]
pub struct Snoozes {
    pub times: usize,
    pub delay: Duration,
}

impl Job for Snoozes {
    async fn run(&self, cx: &JobContext) -> JobResult {
        let log = cx.state::<Log>()?;
        log.note(format_args!("attempt {}", cx.attempt()));
        if log.lines().len() <= self.times { Err(JobError::snooze(self.delay)) } else { Ok(()) }
    }
}

/// Notes its begin and its end.
#[derive(Debug, Deferrable, Serialize, Deserialize)]
#[defer(queue)]
pub struct Spans {
    pub number: u32,
}

impl Job for Spans {
    async fn run(&self, cx: &JobContext) -> JobResult {
        span(cx, self.number).await
    }
}

/// Does that too, and no two of them at once.
#[derive(Debug, Deferrable, Serialize, Deserialize)]
#[defer(queue, max_running = 1)]
pub struct Alone {
    pub number: u32,
}

impl Job for Alone {
    async fn run(&self, cx: &JobContext) -> JobResult {
        span(cx, self.number).await
    }
}

async fn span(cx: &JobContext, number: u32) -> JobResult {
    let log = cx.state::<Log>()?;
    log.note(format_args!("+{number}"));
    // Long enough for another to come between, if there were nothing against it.
    tokio::time::sleep(Duration::from_millis(5)).await;
    log.note(format_args!("-{number}"));
    Ok(())
}

/// Whom a request is for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tenant(pub String);

/// Fails for its tenant, and notes that it is given up.
#[derive(Debug, Deferrable, Serialize, Deserialize)]
#[defer(queue, tries = 2, backoff = "1ms")]
pub struct Doomed;

impl Job for Doomed {
    async fn run(&self, cx: &JobContext) -> JobResult {
        let Tenant(name) = cx.extension()?;
        Err(JobError::msg(format!("no luck for {name}")))
    }

    async fn failed(&self, cx: &JobContext, error: &JobError) {
        if let Ok(log) = cx.state::<Log>() {
            log.note(format_args!("given up after {}: {error}", cx.attempt()));
        }
    }
}

/// Waits for ever.
#[derive(Debug, Deferrable, Serialize, Deserialize)]
#[defer(queue, tries = 2)]
pub struct Hangs;

impl Job for Hangs {
    async fn run(&self, cx: &JobContext) -> JobResult {
        cx.state::<Log>()?.note(format_args!("hangs {}", cx.attempt()));
        std::future::pending().await
    }
}

/// Defers a note.
#[derive(Debug, Deferrable, Serialize, Deserialize)]
#[defer(queue)]
pub struct Parent {
    pub number: u32,
}

impl Job for Parent {
    async fn run(&self, _: &JobContext) -> JobResult {
        Note::defer(self.number);
        Ok(())
    }
}

/// Has no name that a worker knows.
#[derive(Debug, Deferrable, Serialize, Deserialize)]
#[defer(queue)]
pub struct Unknown;

impl Job for Unknown {
    async fn run(&self, _: &JobContext) -> JobResult {
        Ok(())
    }
}

/// Is what [`Note`] was before: its payload is another's.
#[derive(Debug, Deferrable, Serialize, Deserialize)]
#[defer(queue, name = "Note")]
pub struct OldNote {
    pub text: String,
}

impl Job for OldNote {
    async fn run(&self, _: &JobContext) -> JobResult {
        Ok(())
    }
}

/// Was called `Unknown`.
#[derive(Debug, Deferrable, Serialize, Deserialize)]
#[defer(queue, alias = "Unknown")]
pub struct Renamed;

impl Job for Renamed {
    async fn run(&self, cx: &JobContext) -> JobResult {
        cx.state::<Log>()?.note("renamed");
        Ok(())
    }
}
