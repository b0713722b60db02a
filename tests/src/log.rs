//! A log of events, in order.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

/// How long a test waits for what does not come.
const PATIENCE: Duration = Duration::from_secs(30);

/// A log that jobs write and tests wait for. Given to a runner as state; a clone is the same log.
#[derive(Clone, Debug)]
pub struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    changed: Arc<watch::Sender<usize>>,
}

impl Log {
    /// An empty log.
    pub fn new() -> Self {
        Self { lines: Arc::default(), changed: Arc::new(watch::Sender::new(0)) }
    }

    /// Adds a line.
    pub fn add(&self, line: impl Into<String>) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(line.into());
        self.changed.send_replace(lines.len());
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until there are this many lines, and returns all there are.
    pub async fn wait_for(&self, lines: usize) -> Vec<String> {
        let mut changed = self.changed.subscribe();
        let enough = changed.wait_for(|now| *now >= lines);
        let waited = tokio::time::timeout(PATIENCE, enough).await.is_err();
        assert!(!waited, "waited for {lines} lines in vain, there are {:?}", self.lines());
        self.lines()
    }
}

impl Default for Log {
    fn default() -> Self {
        Self::new()
    }
}

/// The log of a thread, as `tracing_subscriber` writes it. A clone is the same log.
#[derive(Clone, Debug, Default)]
pub struct Traced(Arc<Mutex<Vec<u8>>>);

impl Traced {
    /// Keeps what this thread logs from this level up, until the guard is dropped.
    pub fn start(level: tracing::Level) -> (Self, DefaultGuard) {
        let traced = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_writer(traced.clone())
            .with_max_level(level)
            .finish();
        (traced, tracing::subscriber::set_default(subscriber))
    }

    /// All that was logged so far.
    pub fn text(&self) -> String {
        String::from_utf8(self.bytes().clone()).expect("text")
    }

    /// Forgets what was logged so far.
    pub fn clear(&self) {
        self.bytes().clear();
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl io::Write for Traced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Traced {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
