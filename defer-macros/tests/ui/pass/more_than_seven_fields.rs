use defer_axum::{Deferrable, Job, JobContext, JobResult};

#[derive(Deferrable)]
#[deny(clippy::too_many_arguments)]
struct Wide(u8, u8, u8, u8, u8, u8, u8, u8, u8);

impl Job for Wide {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

fn main() {
    let _ = || Wide::defer(1, 2, 3, 4, 5, 6, 7, 8, 9);
}
