#![deny(warnings)]

use defer_axum::{BatchJob, Deferrable, JobContext, JobError, JobResult};
use serde::{Deserialize, Serialize};

#[derive(Deferrable)]
#[defer(batch = 50, within = "500ms", tries = 3, concurrent, max_running = 2)]
struct Visit {
    path: String,
}

impl BatchJob for Visit {
    async fn run(visits: &[Self], cx: &JobContext) -> JobResult {
        let _ = (visits.iter().map(|visit| &visit.path), cx.attempt());
        Ok(())
    }

    async fn failed(&self, _cx: &JobContext, _error: &JobError) {}
}

#[derive(Deferrable, Serialize, Deserialize)]
#[defer(queue, batch = 2, within = "1h 30m")]
struct Stored<T>(T);

impl BatchJob for Stored<u64> {
    async fn run(numbers: &[Self], _cx: &JobContext) -> JobResult {
        let _ = numbers.iter().map(|number| number.0).sum::<u64>();
        Ok(())
    }
}

#[test]
fn a_batch_takes_other_attributes_and_may_be_generic_and_durable() {
    let _ = (|| Visit::defer("/"), || Stored::<u64>::defer(7_u64));
    assert!(Visit::BATCH.is_some() && Stored::<u64>::BATCH.is_some());
}
