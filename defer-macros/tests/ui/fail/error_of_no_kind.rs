use defer_axum::{Deferrable, Job, JobContext, JobResult};

#[derive(Deferrable)]
struct SendWelcome;

struct Refused;

fn connect() -> Result<(), Refused> {
    Ok(())
}

impl Job for SendWelcome {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        connect()?;
        Ok(())
    }
}

fn main() {
    SendWelcome::defer();
}
