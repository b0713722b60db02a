use defer_axum::{Deferrable, Job, JobContext, JobResult};

#[derive(Deferrable)]
struct SendWelcome {
    to: String,
}

impl SendWelcome {
    fn defer(&self) {}
}

impl Job for SendWelcome {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

fn main() {
    SendWelcome { to: "ada@example.com".into() }.defer();
}
