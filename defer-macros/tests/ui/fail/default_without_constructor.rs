use defer_axum::{Deferrable, Job, JobContext, JobResult};

#[derive(Deferrable)]
#[defer(no_constructor)]
struct SendWelcome {
    to: String,
    #[defer(default)]
    copies: u8,
}

impl Job for SendWelcome {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

fn main() {
    defer_axum::defer(SendWelcome { to: "ada@example.com".into(), copies: 1 });
}
