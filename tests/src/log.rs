//! What happened, in order.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

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
