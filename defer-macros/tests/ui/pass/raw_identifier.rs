use defer_axum::{Deferrable, Job, JobContext, JobResult};

#[derive(Deferrable)]
#[allow(non_camel_case_types)]
struct r#type {
    r#match: String,
    r#fn: u32,
}

impl Job for r#type {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

fn main() {
    assert_eq!(r#type::NAME, "type");
    let _ = || r#type::defer("x", 7);
}
