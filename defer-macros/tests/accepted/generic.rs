use defer_axum::{Deferrable, Job, JobContext, JobResult};

#[derive(Deferrable)]
struct Publish<T, U = u8> {
    event: T,
    channel: U,
}

impl<T: Send + Sync + 'static, U: Send + Sync + 'static> Job for Publish<T, U> {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

#[test]
fn a_generic_struct_is_a_job_with_each_of_its_types() {
    assert_eq!(Publish::<String, u32>::NAME, "Publish");
    let _ = || Publish::<String, u32>::defer("created", 7_u32);
    let _ = || Publish::<String>::try_defer("created", 7);
}
