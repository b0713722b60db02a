use std::error::Error;

use defer_axum::{Deferrable, Job, JobContext, JobResult};

#[derive(Deferrable)]
struct SendWelcome;

fn connect() -> Result<(), Box<dyn Error>> {
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
