use defer_axum::Deferrable;
use defer_core::{Job, JobContext, JobResult};

mod reexport {
    pub use defer_core as engine;
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
#[defer(crate = "crate::reexport::engine")]
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

fn main() {
    let _ = || -> defer_core::Deferred { Core::defer("x") };
    let _ = || (Reexported::defer("x"), Absolute::defer("x"));
}
