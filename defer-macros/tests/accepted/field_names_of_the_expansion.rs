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

#[test]
fn fields_may_have_the_names_that_the_expansion_uses() {
    let _ = || Job1::defer("", "", "", "", "", "", "");
}
