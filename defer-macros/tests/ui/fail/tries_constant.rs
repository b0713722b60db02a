use defer_axum::{Deferrable, Job, JobContext, JobResult};

const TRIES: u32 = 3;

#[derive(Deferrable)]
#[defer(tries = TRIES, max_running = usize::MAX as u32)]
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
