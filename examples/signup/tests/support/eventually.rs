//! Waits for other processes.

use std::time::Duration;

use tokio::time::{sleep, timeout};

/// How long a test waits before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Polls until there is an answer.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let answer = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            // Polled: a page, a file or another process does not notify anyone of a change.
            sleep(Duration::from_millis(20)).await;
        }
    };
    let answer = timeout(PATIENCE, answer).await;
    answer.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}
