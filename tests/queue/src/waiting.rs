//! Waits for other tasks and processes, however busy the machine is.

use std::time::Duration;

use crate::jobs::Log;

/// The longest that a push and a reply may take here. With a shorter limit, a busy machine would make the queue look
/// unavailable.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until a condition holds.
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
