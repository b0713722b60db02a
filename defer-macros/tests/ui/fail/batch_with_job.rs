use defer_axum::{Deferrable, Job, JobContext, JobResult};

#[derive(Deferrable)]
#[defer(batch = 50, within = "500ms")]
struct Visit {
    path: String,
}

impl Job for Visit {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

fn main() {
    Visit::defer("/");
}
