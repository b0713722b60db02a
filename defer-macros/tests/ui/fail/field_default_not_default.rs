use defer_axum::{Deferrable, Job, JobContext, JobResult};

struct Address;

#[derive(Deferrable)]
struct SendWelcome {
    #[defer(default)]
    to: Address,
}

impl Job for SendWelcome {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

fn main() {
    SendWelcome::defer();
}
