//! Job types that record in a file what they did.

use std::{
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use defer_axum::{BatchJob, Deferrable, Job, JobContext, JobError, JobResult};
use serde::{Deserialize, Serialize};

/// The file in which jobs record what they did. It is part of a runner's state.
#[derive(Clone, Debug)]
pub struct Log(pub PathBuf);

impl Log {
    pub fn note(&self, what: impl std::fmt::Display) {
        // One write per line, so that lines of several processes do not mix.
        let mut file = OpenOptions::new().create(true).append(true).open(&self.0).unwrap();
        file.write_all(format!("{what}\n").as_bytes()).unwrap();
    }

    pub fn lines(&self) -> Vec<String> {
        lines(&self.0)
    }

    /// Returns the lines in alphabetical order.
    pub fn sorted(&self) -> Vec<String> {
        let mut lines = self.lines();
        lines.sort();
        lines
    }

    pub fn has(&self, line: &str) -> bool {
        self.lines().iter().any(|noted| noted == line)
    }
}

pub fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    // Another process may still be writing the last line.
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
}

/// Notes its number.
#[derive(Clone, Debug, Deferrable, Serialize, Deserialize)]
#[defer(queue, tries = 3)]
pub struct Note {
    pub number: u32,
}

impl Job for Note {
    async fn run(&self, cx: &JobContext) -> JobResult {
        cx.state::<Log>()?.note(self.number);
        Ok(())
    }
}

/// Notes the numbers of its batch on one line. A batch needs twenty jobs to start.
#[derive(Clone, Debug, Deferrable, Serialize, Deserialize)]
#[defer(queue, batch = 20, within = "1h")]
pub struct Together {
    pub number: u32,
}

impl BatchJob for Together {
    async fn run(jobs: &[Self], cx: &JobContext) -> JobResult {
        let mut numbers: Vec<_> = jobs.iter().map(|job| job.number).collect();
        numbers.sort_unstable();
        cx.state::<Log>()?.note(format_args!("{numbers:?}"));
        Ok(())
    }
}

/// Notes its number and the delivery of its response.
#[derive(Clone, Debug, Deferrable, Serialize, Deserialize)]
#[defer(queue)]
pub struct Tells {
    pub number: u32,
}

impl Job for Tells {
    async fn run(&self, cx: &JobContext) -> JobResult {
        let delivery = cx.response().map_or("none", |response| response.delivery().as_str());
        cx.state::<Log>()?.note(format_args!("{} {delivery}", self.number));
        Ok(())
    }
}

/// Notes its start, waits for a file, and notes its end.
#[derive(Debug, Deferrable, Serialize, Deserialize)]
#[defer(queue)]
pub struct Waits {
    pub number: u32,
    pub file: PathBuf,
}

impl Job for Waits {
    async fn run(&self, cx: &JobContext) -> JobResult {
        let log = cx.state::<Log>()?;
        log.note(format_args!("+{}", self.number));
        while !self.file.exists() {
            // Polled: another process creates the file.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        log.note(format_args!("-{}", self.number));
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

/// Fails with this error.
#[derive(Debug, Deferrable, Serialize, Deserialize)]
#[defer(queue, tries = 1)]
pub struct Fails {
    pub error: String,
}

impl Job for Fails {
    async fn run(&self, cx: &JobContext) -> JobResult {
        cx.state::<Log>()?.note("fails");
        Err(JobError::msg(self.error.clone()))
    }
}

/// Fails in its first attempts, and notes every attempt.
#[derive(Debug, Deferrable, Serialize, Deserialize)]
#[defer(queue, tries = 3, backoff = "1ms")]
pub struct FailsFirst {
    pub times: u32,
}

impl Job for FailsFirst {
    async fn run(&self, cx: &JobContext) -> JobResult {
        cx.state::<Log>()?.note(format_args!("attempt {}", cx.attempt()));
        if cx.attempt() <= self.times { Err(JobError::msg("the mail server is away")) } else { Ok(()) }
    }
}

/// Notes its number. Its priority lets it run before others.
#[derive(Debug, Deferrable, Serialize, Deserialize)]
#[defer(queue, priority = 9)]
pub struct Urgent {
    pub number: u32,
}

impl Job for Urgent {
    async fn run(&self, cx: &JobContext) -> JobResult {
        cx.state::<Log>()?.note(format_args!("urgent {}", self.number));
        Ok(())
    }
}

/// The tenant of a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tenant(pub String);

/// Notes its tenant.
#[derive(Debug, Deferrable, Serialize, Deserialize)]
#[defer(queue)]
pub struct ForTenant;

impl Job for ForTenant {
    async fn run(&self, cx: &JobContext) -> JobResult {
        let Tenant(name) = cx.extension()?;
        cx.state::<Log>()?.note(format_args!("for {}", name.escape_debug()));
        Ok(())
    }
}

/// Has a large payload.
#[derive(Debug, Deferrable, Serialize, Deserialize)]
#[defer(queue)]
pub struct Big {
    pub text: String,
}

impl Job for Big {
    async fn run(&self, cx: &JobContext) -> JobResult {
        cx.state::<Log>()?.note(format_args!("big {}", self.text.len()));
        Ok(())
    }
}

/// Defers a note, and waits for a file.
#[derive(Debug, Deferrable, Serialize, Deserialize)]
#[defer(queue)]
pub struct DefersAndWaits {
    pub number: u32,
}

impl Job for DefersAndWaits {
    async fn run(&self, cx: &JobContext) -> JobResult {
        let log = cx.state::<Log>()?;
        Note::defer(self.number);
        log.note("deferred");
        while !log.0.with_file_name("go").exists() {
            // Polled: the test creates the file.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }
}

/// A job whose name no worker knows.
#[derive(Debug, Deferrable, Serialize, Deserialize)]
#[defer(queue)]
pub struct Unknown;

impl Job for Unknown {
    async fn run(&self, cx: &JobContext) -> JobResult {
        cx.state::<Log>()?.note("unknown");
        Ok(())
    }
}

/// A later version of [`Note`], with an incompatible payload.
#[derive(Debug, Deferrable, Serialize, Deserialize)]
#[defer(queue, name = "Note")]
pub struct NewNote {
    pub text: String,
}

impl Job for NewNote {
    async fn run(&self, cx: &JobContext) -> JobResult {
        cx.state::<Log>()?.note(format_args!("new {}", self.text));
        Ok(())
    }
}

/// Formerly called `Unknown`.
#[derive(Debug, Deferrable, Serialize, Deserialize)]
#[defer(queue, alias = "Unknown")]
pub struct Renamed;

impl Job for Renamed {
    async fn run(&self, cx: &JobContext) -> JobResult {
        cx.state::<Log>()?.note("renamed");
        Ok(())
    }
}

/// Notes the start of each of its runs, waits for that run's file, and notes the end.
#[derive(Debug, Deferrable, Serialize, Deserialize)]
#[defer(queue)]
pub struct Again;

impl Job for Again {
    async fn run(&self, cx: &JobContext) -> JobResult {
        let log = cx.state::<Log>()?;
        let run = log.lines().iter().filter(|line| line.starts_with('+')).count() + 1;
        log.note(format_args!("+{run}"));
        let file = log.0.with_file_name(format!("go-{run}"));
        while !file.exists() {
            // Polled: the test creates the file.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        log.note(format_args!("-{run}"));
        Ok(())
    }
}

/// Snoozes once.
#[derive(Debug, Deferrable, Serialize, Deserialize)]
#[defer(queue, tries = 1)]
pub struct Snoozes {
    pub delay: Duration,
}

impl Job for Snoozes {
    async fn run(&self, cx: &JobContext) -> JobResult {
        let log = cx.state::<Log>()?;
        let first = log.lines().is_empty();
        log.note(format_args!("attempt {}", cx.attempt()));
        if first { Err(JobError::snooze(self.delay)) } else { Ok(()) }
    }
}

/// Notes its start and its end. Every fourth fails in its first attempt.
#[derive(Debug, Deferrable, Serialize, Deserialize)]
#[defer(queue, tries = 2, backoff = "1ms")]
pub struct InTurn {
    pub number: u32,
}

impl Job for InTurn {
    async fn run(&self, cx: &JobContext) -> JobResult {
        let log = cx.state::<Log>()?;
        log.note(format_args!("+{}", self.number));
        // Long enough for another job to interfere, if nothing prevented it.
        tokio::time::sleep(Duration::from_millis(3)).await;
        log.note(format_args!("-{}", self.number));
        if cx.attempt() == 1 && self.number.is_multiple_of(4) { Err(JobError::msg("once")) } else { Ok(()) }
    }
}

/// Notes what it sees of its request and response.
#[derive(Debug, Deferrable, Serialize, Deserialize)]
#[defer(queue)]
pub struct Sees;

impl Job for Sees {
    async fn run(&self, cx: &JobContext) -> JobResult {
        let request = cx.request().map(|request| {
            let path = request.matched_path().unwrap_or("none");
            let note = request.headers().get("x-note").and_then(|note| note.to_str().ok()).unwrap_or("none");
            format!("{} {path} {note}", request.method())
        });
        let response = cx.response().map(|response| {
            let status = response.status().map_or(0, |status| status.as_u16());
            format!("{status} {} {}", response.delivery().as_str(), response.bytes_sent())
        });
        let tenant = cx.extension::<Tenant>().map_or_else(|_| "nobody".to_owned(), |tenant| tenant.0.clone());
        let [request, response] = [request, response].map(|info| info.unwrap_or_else(|| "none".to_owned()));
        cx.state::<Log>()?.note(format_args!("{request}, {response}, {tenant}"));
        Ok(())
    }
}
