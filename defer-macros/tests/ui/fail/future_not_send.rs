use std::rc::Rc;

use defer_axum::{Deferrable, Job, JobContext, JobResult};

#[derive(Deferrable)]
struct SendWelcome;

impl Job for SendWelcome {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        let local = Rc::new(());
        std::future::ready(()).await;
        drop(local);
        Ok(())
    }
}

fn main() {}
