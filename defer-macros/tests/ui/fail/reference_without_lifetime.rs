use defer_axum::{Deferrable, Job, JobContext, JobResult, defer};

#[derive(Deferrable)]
struct SendWelcome {
    to: &str,
    copies: u8,
}

impl Job for SendWelcome {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

fn main() {
    SendWelcome::defer("ada@example.com", 2);
    SendWelcome::try_defer("ada@example.com", 2).unwrap();
    defer(SendWelcome { to: "ada@example.com", copies: 2 });
}
