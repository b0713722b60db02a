#![deny(clippy::too_many_arguments)]

use defer_axum::{Deferrable, Job, JobContext, JobResult};

#[derive(Deferrable)]
struct Wide(u8, u8, u8, u8, u8, u8, u8, u8, u8);

impl Job for Wide {
    async fn run(&self, _cx: &JobContext) -> JobResult {
        Ok(())
    }
}

#[test]
fn more_than_seven_fields_are_not_too_many_arguments() {
    let _ = || Wide::defer(1, 2, 3, 4, 5, 6, 7, 8, 9);
}
