use defer_axum::{Deferrable, Job, JobContext, JobResult};

#[derive(Deferrable)]
#[defer(tries = 0, timeot = "1s", on = "never")]
#[defer(backoff = "2s..1s")]
struct SendWelcome {
    #[defer(skip)]
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
