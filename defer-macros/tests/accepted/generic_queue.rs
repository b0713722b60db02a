use defer_axum::{Deferrable, Job, JobContext, JobResult};
use serde::{Deserialize, Serialize};

#[derive(Deferrable, Serialize, Deserialize)]
#[defer(queue)]
struct Publish<T> {
    event: T,
}

impl<T: Send + Sync + 'static> Job for Publish<T> {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

#[test]
fn a_generic_struct_may_be_durable() {
    assert!(Publish::<String>::POLICY.is_queued());
    let _ = || Publish::<String>::defer("created");
}
