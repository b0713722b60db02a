//! Measures the time of each part, compared with the same work without deferring.
//!
//! `cargo bench -p defer-benches --bench parts -- --sort location` keeps rows that are to be compared together. A filter may
//! follow. A row is named after its case, `way:jobs`, and shows the time of one request, or one scope, with all of its jobs.
//! Benches whose rows measure more say so. The line below a row's times shows how many of the items that its bench counts
//! are handled per second.

use std::{sync::LazyLock, time::Duration};

use defer_benches::{
    Case, Connection, Crowd, Drive, Driver, Load, MEGABYTE, Origin, Pending, Served, Server, Way, Workers,
};
use divan::{
    Bencher, Divan,
    counter::{BytesCount, IntoCounter, ItemsCount},
};

const SIZES: [u64; 4] = [1, 10, 100, 1_000];

const NO_JOB: [Case; 2] = [Case::new(Way::Spawn, 0), Case::new(Way::Defer, 0)];

/// `cargo test --benches` runs each bench once, without optimization. The largest sizes are pointless there.
static IS_BENCH: LazyLock<bool> = LazyLock::new(|| std::env::args().any(|arg| arg == "--bench"));

fn main() {
    // Divan's default of a hundred samples of a few microseconds would end before a core has reached full speed.
    Divan::default().min_time(Duration::from_millis(200)).config_with_args().main();
}

/// Returns each of these with each number of jobs. Cases to compare are adjacent.
fn each<T: Copy, C>(these: &[T], sizes: &[u64], case: impl Fn(T, u64) -> C) -> Vec<C> {
    let case = &case;
    sizes.iter().flat_map(|jobs| these.iter().map(move |this| case(*this, *jobs))).collect()
}

/// Times one request and its jobs.
fn one_request(bencher: Bencher<'_, '_>, mut driver: impl Drive, counter: impl IntoCounter) {
    // The first request fills the caches.
    driver.run(1);
    bencher.counter(counter).bench_local(|| driver.run(1));
}

/// The router in this process, under the layer.
mod layer {
    use super::*;

    /// Counts requests.
    #[divan::bench(args = NO_JOB)]
    fn no_job(bencher: Bencher<'_, '_>, case: Case) {
        one_request(bencher, Driver::new(case), ItemsCount::new(1u64));
    }

    /// Counts jobs.
    #[divan::bench(args = each(&Way::ALL, &SIZES, Case::new))]
    fn jobs(bencher: Bencher<'_, '_>, case: Case) {
        one_request(bencher, Driver::new(case), ItemsCount::new(case.jobs));
    }
}

/// The collector and the runner, without requests: from one job to a million. Counts jobs.
mod jobs {
    use super::*;

    fn crowds() -> Vec<Crowd> {
        let large: &[u64] = if *IS_BENCH { &[10_000, 100_000, 1_000_000] } else { &[] };
        each(&Origin::ALL, &[&SIZES, large].concat(), Origin::jobs)
    }

    fn filled(crowd: Crowd) -> Pending {
        let mut pending = Pending::new(crowd);
        pending.add();
        pending
    }

    /// From the first deferral until the runner has the jobs. It is busy, so none of them runs.
    #[divan::bench(args = crowds(), max_time = 2)]
    fn defer(bencher: Bencher<'_, '_>, crowd: Crowd) {
        bencher
            .counter(ItemsCount::new(crowd.jobs))
            .with_inputs(|| Pending::new(crowd))
            .bench_local_refs(Pending::add);
    }

    /// From the moment the runner is free until the jobs it held have run.
    #[divan::bench(args = crowds(), max_time = 2)]
    fn run(bencher: Bencher<'_, '_>, crowd: Crowd) {
        bencher
            .counter(ItemsCount::new(crowd.jobs))
            .with_inputs(|| filled(crowd))
            .bench_local_refs(Pending::run_off);
    }
}

/// A keep-alive HTTP/1 connection in this process, `server/answer/way:jobs`.
mod serve {
    use super::*;

    const fn on_both(case: Case) -> [Served; 2] {
        [Served::new(Server::Axum, case), Served::new(Server::Defer, case)]
    }

    fn no_job_cases() -> Vec<Served> {
        NO_JOB.into_iter().flat_map(on_both).collect()
    }

    fn job_cases() -> Vec<Served> {
        each(&[Way::Spawn, Way::Defer], &SIZES, Case::new).into_iter().flat_map(on_both).collect()
    }

    fn megabyte_cases() -> Vec<Served> {
        no_job_cases().into_iter().map(Served::with_megabyte).collect()
    }

    /// Counts requests.
    #[divan::bench(args = no_job_cases())]
    fn no_job(bencher: Bencher<'_, '_>, served: Served) {
        one_request(bencher, Connection::new(served), ItemsCount::new(1u64));
    }

    /// Counts jobs.
    #[divan::bench(args = job_cases())]
    fn jobs(bencher: Bencher<'_, '_>, served: Served) {
        one_request(bencher, Connection::new(served), ItemsCount::new(served.case.jobs));
    }

    /// Counts the bytes of the bodies.
    #[divan::bench(args = megabyte_cases())]
    fn megabyte(bencher: Bencher<'_, '_>, served: Served) {
        one_request(bencher, Connection::new(served), BytesCount::new(MEGABYTE));
    }
}

/// Many requests in this process, from two tasks per worker thread, `way:jobs on workers`. All rows of one size measure the
/// same number of requests. Counts requests.
mod threads {
    use super::*;

    fn loads() -> Vec<Workers> {
        let cases = each(&[Way::Spawn, Way::Defer], &[&[0][..], &SIZES].concat(), Case::new);
        cases.into_iter().flat_map(|case| [1, 2].map(|workers| Workers { workers, case })).collect()
    }

    /// Enough requests to take some milliseconds: sleeping threads need part of one to wake up and share the tasks. It is a
    /// multiple of the number of tasks, because each sends the same number.
    fn requests(jobs: u64) -> u64 {
        if *IS_BENCH { (80_000 / (jobs + 7)).next_multiple_of(4) } else { 4 }
    }

    #[divan::bench(args = loads(), sample_count = 50)]
    fn requests_in_parallel(bencher: Bencher<'_, '_>, workers: Workers) {
        let requests = requests(workers.case.jobs);
        let mut load = Load::new(workers);
        load.run(requests);
        bencher.counter(ItemsCount::new(requests)).bench_local(|| load.run(requests));
    }
}
