//! `allocations CASE..`: prints for each case how often a request allocates, and how many bytes.
//!
//! Apart from `requests`, because the counting costs instructions.

use std::alloc::System;

use defer_benches::{Case, Driver};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const REQUESTS: u64 = 1000;

fn main() {
    for case in std::env::args().skip(1) {
        let parsed: Case = case.parse().expect("the arguments are cases");
        let mut driver = Driver::new(parsed);
        // The first requests fill what is kept for the next ones.
        driver.run(10);
        let region = Region::new(ALLOCATOR);
        driver.run(REQUESTS);
        let used = region.change();
        let count = (used.allocations + used.reallocations) as f64 / REQUESTS as f64;
        let bytes = used.bytes_allocated as f64 / REQUESTS as f64;
        println!("{case} {count} {bytes}");
    }
}
