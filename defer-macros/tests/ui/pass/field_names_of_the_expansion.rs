use defer_axum::{Deferrable, Job, JobContext, JobResult};

#[derive(Deferrable)]
struct Job1 {
    defer: String,
    try_defer: String,
    job: String,
    core: String,
    defer_axum: String,
    into: String,
    arg0: String,
}

impl Job for Job1 {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

fn main() {
    let _ = || Job1::defer("", "", "", "", "", "", "");
}
