use defer_axum::{Deferrable, Job, JobContext, JobResult};

#[derive(Deferrable)]
struct Publish<T> {
    event: T,
}

impl<T: Send + Sync + 'static> Job for Publish<T> {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

fn main() {
    let event = String::from("created");
    Publish::<&str>::defer(event.as_str());
}
