//! Waiting for what other tasks and processes do, however busy the machine is.

use std::time::Duration;

use crate::jobs::Log;

/// How long a push and an answer may take here. After a shorter limit a queue would be taken to be away, only because the
/// machine is busy.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until something holds.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = std::time::Instant::now();
    while begun.elapsed() < PATIENCE {
        if holds().await {
            return;
        }
        // Polled: a file, a database or another process does not notify anyone of a change.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("in vain: {what}");
}

pub async fn until_line(log: &Log, line: &str) {
    until(&format!("`{line}`"), async || log.has(line)).await;
}

pub async fn until_lines(log: &Log, count: usize) {
    until(&format!("{count} lines"), async || log.lines().len() >= count).await;
}
