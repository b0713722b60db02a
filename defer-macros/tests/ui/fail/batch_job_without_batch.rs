use defer_axum::{BatchJob, Deferrable, JobContext, JobResult};

#[derive(Deferrable)]
#[defer(tries = 3)]
struct Visit {
    path: String,
}

impl BatchJob for Visit {
    async fn run(_visits: &[Self], _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

fn main() {
    Visit::defer("/");
}
