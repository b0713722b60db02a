use defer_axum::{Deferrable, Job, JobContext, JobResult};

#[derive(Deferrable)]
struct Resize(std::path::PathBuf, u32);

impl Job for Resize {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

fn main() {
    let _ = || {
        Resize::defer("cat.png", 640);
        Resize::try_defer(String::from("cat.png"), 640)
    };
}
