use defer_axum::{BatchJob, Deferrable, JobContext, JobResult};

#[derive(Deferrable)]
#[defer(batch = 1, within = "500ms")]
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
