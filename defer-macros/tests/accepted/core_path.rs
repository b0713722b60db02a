use defer_axum::Deferrable;
use defer_core::{Job, JobContext, JobResult};

mod reexport {
    pub(crate) use defer_core as engine;
}

#[derive(Deferrable)]
#[defer(crate = "defer_core")]
struct Core(String);

impl Job for Core {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

#[derive(Deferrable)]
#[defer(crate = "crate::core_path::reexport::engine")]
struct Reexported(String);

impl Job for Reexported {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

#[derive(Deferrable)]
#[defer(crate = "::defer_core")]
struct Absolute(String);

impl Job for Absolute {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

#[test]
fn the_crate_may_be_a_dependency_a_reexport_or_an_absolute_path() {
    let _ = || -> defer_core::Deferred { Core::defer("x") };
    let _ = || (Reexported::defer("x"), Absolute::defer("x"));
}
