use defer_axum::{Deferrable, Job, JobContext, JobResult};

#[derive(Deferrable)]
struct Resize(std::path::PathBuf, u32);

impl Job for Resize {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

#[test]
fn a_field_of_a_tuple_takes_what_converts_into_it() {
    let _ = || {
        Resize::defer("cat.png", 640);
        Resize::try_defer(String::from("cat.png"), 640)
    };
}
