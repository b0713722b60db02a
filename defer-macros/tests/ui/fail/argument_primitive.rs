use defer_axum::{Deferrable, Job, JobContext, JobResult};

#[derive(Deferrable)]
struct Resize {
    path: String,
    width: u64,
}

impl Job for Resize {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

fn main() {
    Resize::defer("cat.png", "wide");
}
