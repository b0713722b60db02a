use std::time::Duration;

use defer_axum::{Deferrable, Job, JobContext, JobResult};

const LIMIT: Duration = Duration::from_secs(10);

#[derive(Deferrable)]
#[defer(timeout = LIMIT, backoff = Duration::from_secs(1))]
struct SendWelcome {
    to: String,
}

impl Job for SendWelcome {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

fn main() {
    SendWelcome::defer("ada@example.com");
}
