//! `allocations CASE`: prints the number of allocations per request. `allocations pending-..:N`: prints the number of bytes that
//! each of N pending jobs holds.
//!
//! This is separate from `requests`, because counting costs instructions.

use std::alloc::System;

use defer_benches::{Case, Drive, Driver, Origin, Pending, Way, driver};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    let what = std::env::args().nth(1).unwrap_or_default();
    let figure = match what.split_once(':') {
        Some(("pending-in-one-scope", jobs)) => pending(Origin::OneScope, number(jobs)),
        Some(("pending-spawned", jobs)) => pending(Origin::Spawned, number(jobs)),
        Some(("pending-in-a-request-each", jobs)) => {
            let jobs = number(jobs);
            let mut driver = Driver::holding(Case::new(Way::Defer, 1), jobs);
            live_bytes(|| driver.send(jobs)) / jobs as f64
        }
        _ => allocations(&mut *driver(&what).expect("the argument is a case")),
    };
    println!("{figure}");
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number follows the colon")
}

fn pending(origin: Origin, jobs: u64) -> f64 {
    let mut pending = Pending::new(origin.jobs(jobs));
    live_bytes(|| pending.add()) / jobs as f64
}

fn allocations(driver: &mut dyn Drive) -> f64 {
    let requests = 200;
    // The first requests fill the caches.
    driver.run(10);
    let region = Region::new(ALLOCATOR);
    driver.run(requests);
    let used = region.change();
    (used.allocations + used.reallocations) as f64 / requests as f64
}

/// Returns how many more bytes are allocated after `f` than before.
fn live_bytes(f: impl FnOnce()) -> f64 {
    let region = Region::new(ALLOCATOR);
    f();
    let used = region.change();
    used.bytes_allocated as f64 - used.bytes_deallocated as f64
}
