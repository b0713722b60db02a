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

#[test]
fn the_functions_return_a_handle_or_an_error() {
    assert_eq!(Tick::NAME, "Tick");
    let _ = handler;
}
