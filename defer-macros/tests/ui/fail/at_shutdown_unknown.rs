use defer_axum::{Deferrable, Job, JobContext, JobResult};

#[derive(Deferrable)]
#[defer(at_shutdown = "stop")]
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
