//! The memory of a dashboard that has seen many job types, and keeps as much about them as it ever does.

use defer_axum::{Dashboard, Runner, scope};
use defer_soak_types::{TYPES, defer_each};

use crate::{Failure, memory};

/// More runs than the dashboard keeps for one type.
const FAILURES: usize = 60;
const SUCCESSES: usize = 60;
/// The most memory that the dashboard may take, in bytes.
const MOST: f64 = 15e6;

pub(crate) async fn run() -> Result<(), Failure> {
    let runner = Runner::default();
    // Fills the caches of the allocator, the runtime and the runner.
    fill(&runner).await;
    let before = memory::resident(std::process::id())?;
    let dashboard = Dashboard::new(&runner);
    fill(&runner).await;
    let taken = memory::resident(std::process::id())?.saturating_sub(before) as f64;
    drop(dashboard);
    println!("the dashboard takes {:.1} MB for {TYPES} job types", taken / 1e6);
    if taken > MOST { Err("that is too much".into()) } else { Ok(()) }
}

async fn fill(runner: &Runner) {
    for round in 0..FAILURES {
        // As long as the longest error that is kept.
        let error = |number| Some(format!("{number} failed in round {round}: {}", "x".repeat(500)));
        scope(runner, async { defer_each(&error) }).await;
        runner.idle().await;
    }
    for _ in 0..SUCCESSES {
        scope(runner, async { defer_each(&|_| None) }).await;
        runner.idle().await;
    }
}
