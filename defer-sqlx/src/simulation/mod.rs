//! Simulates processes that share a queue, in virtual time, with everything that can go wrong.
//!
//! | file | hides |
//! |---|---|
//! | `memory` | what the statements of a database do |
//! | `faults` | what goes wrong |
//! | `process` | what a process does: requests, a worker, jobs |
//! | `oracle` | what was promised |
//! | `scenarios` | interleavings that once went wrong |
//! | `scripted` | a database whose answers a test can delay or replace |
//!
//! `DEFER_SIM_SEEDS` sets the number of schedules to run. `DEFER_SIM_SEED` runs one schedule and prints what happened.

#![allow(clippy::unwrap_used, clippy::unimplemented, clippy::unit_arg, reason = "these are tests")]

/// Operations that only a person asks for. No schedule does so, so a call is a mistake in the test.
macro_rules! not_simulated {
    () => {
        not_simulated! {
            counts() -> defer_core::queue::QueueCounts;
            failed(_limit: usize) -> Vec<defer_core::queue::FailedJob>;
            status(_id: defer_core::JobId) -> Option<defer_core::JobStatus>;
            stored(_names: Vec<String>, _limit: usize) -> Vec<crate::store::StoredRow>;
            retry(_id: defer_core::JobId) -> bool;
            discard(_id: defer_core::JobId) -> bool;
            pause(_name: String, _paused: bool) -> ();
            paused() -> Vec<String>;
            job(_id: defer_core::JobId) -> Option<crate::store::JobRow>;
            jobs(_filter: defer_core::queue::JobFilter, _limit: usize) -> Vec<crate::store::JobRow>;
            failures(_limit: usize) -> Vec<defer_core::queue::FailureGroup>;
            counts_by_name() -> Vec<defer_core::queue::NameCounts>;
            holders() -> Vec<crate::store::HolderRow>;
            now() -> i64;
            retry_some(_failures: crate::store::Failures) -> usize;
            discard_some(_failures: crate::store::Failures) -> usize;
        }
    };
    ($($name:ident($($argument:ident: $of:ty),*) -> $output:ty;)+) => {
        $(
            fn $name(&self, $($argument: $of),*) -> crate::store::Stored<'_, $output> {
                unimplemented!("not simulated")
            }
        )+
    };
}

mod faults;
mod memory;
mod oracle;
mod process;
mod scenarios;
mod scripted;

use std::{
    collections::BTreeMap,
    env,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use defer_core::JobId;
use tokio::time::{Instant, sleep};

use self::{
    faults::Gate,
    memory::Tables,
    oracle::{Oracle, Ticket},
};
use crate::store::{HolderId, StoreError};

/// The names of the jobs.
const NAMES: [&str; 2] = ["one", "two"];
/// The longest time until everything has ended after the last fault. It is long because a job that died several times is delayed.
const MOST: Duration = Duration::from_secs(900);

/// Everything that the processes of a schedule share.
#[derive(Debug)]
struct World {
    start: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tables: Tables,
    oracle: Oracle,
    random: fastrand::Rng,
    is_faulty: bool,
    /// One in this many transactions goes wrong.
    fault_in: usize,
    ids: u128,
    processes: BTreeMap<HolderId, Arc<Gate>>,
    faults: BTreeMap<&'static str, u64>,
    transactions: u64,
    log: Option<Vec<String>>,
}

impl World {
    fn new(seed: u64, logs: bool) -> Arc<Self> {
        let mut random = fastrand::Rng::with_seed(seed);
        let state = State {
            tables: Tables::default(),
            oracle: Oracle::default(),
            is_faulty: true,
            fault_in: [8, 20, 60, usize::MAX][random.usize(0..4)],
            random,
            ids: 0,
            processes: BTreeMap::new(),
            faults: BTreeMap::new(),
            transactions: 0,
            log: logs.then(Vec::new),
        };
        Arc::new(Self { start: Instant::now(), state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> i64 {
        self.start.elapsed().as_millis().try_into().unwrap_or(i64::MAX)
    }

    fn millis(&self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.lock().random.u64(range))
    }

    fn below(&self, count: usize) -> usize {
        self.lock().random.usize(..count)
    }

    fn one_in(&self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn next_id(&self) -> JobId {
        let mut state = self.lock();
        state.ids += 1;
        JobId::from(state.ids)
    }

    fn is_faulty(&self) -> bool {
        self.lock().is_faulty
    }

    fn goes_wrong(&self) -> bool {
        let mut state = self.lock();
        let of = state.fault_in;
        state.is_faulty && of != usize::MAX && state.random.usize(..of) == 0
    }

    fn count(&self, kind: &str, fault: &'static str) {
        *self.lock().faults.entry(fault).or_default() += 1;
        self.log(|| format!("fault: {kind} {fault}"));
    }

    fn log(&self, what: impl FnOnce() -> String) {
        let now = self.now();
        if let Some(log) = &mut self.lock().log {
            log.push(format!("{now:>7} {}", what()));
        }
    }

    fn oracle<T>(&self, ask: impl FnOnce(&mut Oracle) -> T) -> T {
        ask(&mut self.lock().oracle)
    }

    fn tables<T>(&self, ask: impl FnOnce(&Tables) -> T) -> T {
        ask(&self.lock().tables)
    }

    fn judge<T>(&self, ask: impl FnOnce(&mut Oracle, &Tables) -> T) -> T {
        let State { oracle, tables, .. } = &mut *self.lock();
        ask(oracle, tables)
    }

    fn started(&self, ticket: &Ticket, knows: &str) -> u64 {
        let State { oracle, tables, processes, .. } = &mut *self.lock();
        let is_gone = |holder: &str| {
            tables.gone.contains(holder) || processes.get(holder).is_some_and(|process| process.is_gone())
        };
        oracle.started(ticket, knows, tables, is_gone)
    }

    fn transact<T>(
        &self,
        process: &str,
        kind: &str,
        work: impl Fn(&mut Tables) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let now = self.now();
        let mut state = self.lock();
        state.transactions += 1;
        state.tables.now = now;
        let before = state.log.is_some().then(|| state.tables.jobs.clone());
        // Taken out of the lock, because a burial looks at the processes too.
        let mut tables = std::mem::take(&mut state.tables);
        drop(state);
        let done = work(&mut tables);
        let mut state = self.lock();
        if let (Some(before), Some(log)) = (before, &mut state.log) {
            log.push(format!("{now:>7} {process} {kind} ok={}", done.is_ok()));
            for (id, row) in tables.jobs.iter().filter(|(id, row)| before.get(id) != Some(row)) {
                let (state, claim, holder) = (row.state, row.claim, &row.holder);
                log.push(format!("          {id} state {state} claim {claim} holder {holder:?}"));
            }
        }
        state.tables = tables;
        done
    }

    fn note_holder(&self, holder: &str, process: &Arc<Gate>) {
        self.log(|| format!("{} is holder {holder}", process.name));
        process.is_now(holder);
        self.lock().processes.insert(holder.to_owned(), process.clone());
    }

    /// Checks that a holder was rightly judged dead.
    fn bury(&self, tables: &mut Tables, holder: &str, count: i64) -> bool {
        let now = tables.now;
        let beaten = tables.holders.get(holder).map(|known| known.beaten);
        let dies = tables.bury(holder, count);
        let (Some(beaten), true) = (beaten, dies) else { return dies };
        self.log(|| format!("{holder} is judged dead, and its last beat was at {beaten}"));
        let state = &mut *self.lock();
        // A process that never received the answer to its registration has taken another name.
        let process = state.processes.get(holder).filter(|process| process.is_known_as(holder));
        let was_well =
            process.is_some_and(|process| !process.is_gone() && process.troubled() < beaten - 1_000);
        if now - beaten < 9_000 || was_well {
            state.oracle.broken.push(format!("{holder} is judged dead, and is well"));
        }
        dies
    }
}

/// The result of a schedule.
struct Outcome {
    broken: Vec<String>,
    log: Vec<String>,
    faults: BTreeMap<&'static str, u64>,
    transactions: u64,
    attempts: u64,
    jobs: u64,
}

/// Runs a schedule.
fn run(seed: u64, logs: bool) -> Outcome {
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O");
    let world = runtime.block_on(schedule(seed, logs));
    drop(runtime);
    let state = &mut *world.lock();
    Outcome {
        broken: std::mem::take(&mut state.oracle.broken),
        log: state.log.take().unwrap_or_default(),
        faults: std::mem::take(&mut state.faults),
        transactions: state.transactions,
        attempts: state.oracle.attempts,
        jobs: state.oracle.jobs.len() as u64,
    }
}

async fn schedule(seed: u64, logs: bool) -> Arc<World> {
    let world = World::new(seed, logs);
    let count = 2 + world.below(3);
    let mut processes: Vec<Arc<Gate>> =
        (0..count).map(|at| process::start(&world, format!("p{at}"))).collect();
    let until = Instant::now() + world.millis(4_000..25_000);
    while Instant::now() < until {
        sleep(world.millis(100..3_000)).await;
        let at = world.below(count);
        strike(&world, &mut processes[at]).await;
    }
    // Nothing new goes wrong. A process that is stalled or cut off by now remains so for up to 30 s more.
    world.lock().is_faulty = false;
    for process in &mut processes {
        if process.is_gone() {
            *process = process::start(&world, format!("{}'", process.name));
        }
    }
    // Late transactions may still arrive.
    sleep(Duration::from_secs(25)).await;
    let until = Instant::now() + MOST;
    while Instant::now() < until && !world.judge(|oracle, tables| oracle.has_ended(tables, &NAMES)) {
        sleep(Duration::from_secs(5)).await;
    }
    world.judge(|oracle, tables| oracle.judge(tables, &NAMES));
    processes.iter().for_each(|process| process.kill());
    world
}

/// Injects a fault into a process as a whole, or into a job.
async fn strike(world: &Arc<World>, process: &mut Arc<Gate>) {
    let long = if world.one_in(2) { 30_000 } else { 5_000 };
    let (time, name) = (world.millis(500..long), process.name.clone());
    let strikes = ["stalled", "offline", "killed", "closed", "leaves", "cancels", "nothing"];
    let what = strikes[world.below(strikes.len())];
    world.count(&name, what);
    match what {
        "stalled" => process.stall(world.now(), time),
        "offline" => process.cut_off(world.now(), time),
        "killed" | "closed" | "leaves" => {
            match what {
                "killed" => process.kill(),
                "closed" => process.close(),
                _ => {
                    process.leave();
                    sleep(world.millis(0..6_000)).await;
                    process.close();
                }
            }
            sleep(world.millis(0..2_000)).await;
            *process = process::start(world, format!("{name}'"));
        }
        "cancels" => {
            let some = world.below(8);
            let now = world.now();
            let tables = &mut world.lock().tables;
            tables.now = now;
            let open = tables.jobs.iter().filter(|(_, row)| !row.has_ended()).map(|(id, _)| *id).nth(some);
            open.map(|id| tables.cancel(id, "somebody else", false));
        }
        _ => {}
    }
}

#[test]
fn whatever_fails_no_acknowledged_job_is_lost_and_none_has_two_ends() {
    let number = |name| env::var(name).ok().and_then(|value: String| value.parse::<u64>().ok());
    if let Some(seed) = number("DEFER_SIM_SEED") {
        let Outcome { broken, log, .. } = run(seed, true);
        return assert!(broken.is_empty(), "{}\n{}", log.join("\n"), broken.join("\n"));
    }
    let seeds = number("DEFER_SIM_SEEDS").unwrap_or(700);
    let (next, total) = (AtomicU64::new(0), Mutex::new(Total::default()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let outcome = run(seed, false);
                    total.lock().unwrap_or_else(PoisonError::into_inner).add(seed, outcome);
                }
            });
        }
    });
    let total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{seeds} schedules: {total:?}");
    let Some((seed, broken)) = total.failed.iter().next() else { return };
    let log = run(*seed, true).log.join("\n");
    panic!("{log}\nDEFER_SIM_SEED={seed}: {broken:#?}");
}

#[test]
fn a_schedule_is_the_same_each_time() {
    for seed in 0..5 {
        assert_eq!(run(seed, true).log, run(seed, true).log);
    }
}

/// The results of all schedules.
#[derive(Debug, Default)]
struct Total {
    jobs: u64,
    attempts: u64,
    transactions: u64,
    faults: BTreeMap<&'static str, u64>,
    failed: BTreeMap<u64, Vec<String>>,
}

impl Total {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.jobs += outcome.jobs;
        self.attempts += outcome.attempts;
        self.transactions += outcome.transactions;
        for (fault, count) in outcome.faults {
            *self.faults.entry(fault).or_default() += count;
        }
        if !outcome.broken.is_empty() {
            self.failed.insert(seed, outcome.broken);
        }
    }
}
