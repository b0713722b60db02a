use defer_axum::{Deferrable, Job, JobContext, JobResult};

#[derive(Deferrable)]
struct Tick;

impl Job for Tick {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

async fn handler() -> Result<(), defer_axum::DeferError> {
    let _: defer_axum::Deferred = Tick::defer();
    let _: defer_axum::Deferred = Tick::try_defer()?;
    Ok(())
}

fn main() {
    assert_eq!(Tick::NAME, "Tick");
    let _ = handler;
}
