//! A log of events, in order.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

/// How long a test waits before it fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A log that jobs write and tests wait for. Give it to a runner as state. Clones share the log.
#[derive(Clone, Debug)]
pub struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    changed: Arc<watch::Sender<usize>>,
}

impl Log {
    /// Creates an empty log.
    pub fn new() -> Self {
        Self { lines: Arc::default(), changed: Arc::new(watch::Sender::new(0)) }
    }

    /// Adds a line.
    pub fn add(&self, line: impl Into<String>) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(line.into());
        self.changed.send_replace(lines.len());
    }

    /// Returns all lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until there are this many lines. Returns all lines.
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

/// A thread's log, as `tracing_subscriber` writes it. Clones share the log.
#[derive(Clone, Debug, Default)]
pub struct Traced(Arc<Mutex<Vec<u8>>>);

impl Traced {
    /// Records what this thread logs at this level or above, until the guard is dropped.
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

    /// Returns everything logged so far.
    pub fn text(&self) -> String {
        String::from_utf8(self.bytes().clone()).expect("text")
    }

    /// Discards everything logged so far.
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
