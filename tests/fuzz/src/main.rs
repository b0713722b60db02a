//! `cargo run --release -p defer-fuzz -- --seconds 60` plays as many cases as fit. See the library.

use std::{
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use defer_fuzz::{ByProtocol, Case, Failure, play, play_seed};

const USAGE: &str = "usage: defer-fuzz [--seconds S | --cases N] [--from SEED]
       defer-fuzz --seed SEED

Plays random cases against `defer_axum::serve`, with the seeds from SEED (0) on, for S seconds (60) or N of them.
With --seed it plays that one case, and prints it.";

/// The longest that one case may take.
const PATIENCE: Duration = Duration::from_secs(60);

struct Options {
    seconds: u64,
    cases: u64,
    from: u64,
}

fn main() -> ExitCode {
    let mut options = Options { seconds: 60, cases: u64::MAX, from: 0 };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let number = arguments.next().and_then(|number| number.parse().ok());
        match (&*name, number) {
            ("--seconds", Some(seconds)) => options.seconds = seconds,
            ("--cases", Some(cases)) => (options.cases, options.seconds) = (cases, u64::MAX),
            ("--from", Some(seed)) => options.from = seed,
            ("--seed", Some(seed)) => return replay(seed),
            _ => {
                eprintln!("{USAGE}");
                return ExitCode::FAILURE;
            }
        }
    }
    fuzz(&options)
}

fn replay(seed: u64) -> ExitCode {
    let case = Case::of_seed(seed);
    println!("{case}");
    match play(&case) {
        Ok(counts) => {
            println!("passed: {counts:#?}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            println!("FAILED: {message}");
            let failure = play_seed(seed, &mut ByProtocol::default());
            failure.map_or_else(
                |failure| println!("\nMade small:\n{failure}"),
                |()| println!("and passed then"),
            );
            ExitCode::FAILURE
        }
    }
}

fn fuzz(options: &Options) -> ExitCode {
    let begun = Instant::now();
    let next = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    let all = Mutex::new(ByProtocol::default());
    let failed: Mutex<Option<Box<Failure>>> = Mutex::new(None);
    let work = |now: &Now| {
        let mut counts = ByProtocol::default();
        while !over.load(Ordering::Relaxed) && begun.elapsed().as_secs() < options.seconds {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= options.cases {
                break;
            }
            let seed = options.from.wrapping_add(at);
            now.begins(seed);
            if let Err(failure) = play_seed(seed, &mut counts) {
                over.store(true, Ordering::Relaxed);
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
            }
        }
        now.ends();
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        all.http1 += counts.http1;
        all.http2 += counts.http2;
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let nows: Vec<Now> = (0..threads).map(|_| Now::default()).collect();
    thread::scope(|scope| {
        let workers: Vec<_> = nows.iter().map(|now| scope.spawn(|| work(now))).collect();
        while !workers.iter().all(|worker| worker.is_finished()) {
            thread::sleep(Duration::from_millis(50));
            if let Some(seed) = nows.iter().find_map(Now::overdue) {
                println!("seed {seed} does not come to an end");
                println!("To play it again: cargo run -p defer-fuzz -- --seed {seed}");
                std::process::exit(1);
            }
        }
    });
    let all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    let seeds = next.into_inner().min(options.cases);
    println!("{all}");
    println!("{seeds} seeds from {}, in {} s", options.from, begun.elapsed().as_secs());
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        None => ExitCode::SUCCESS,
        Some(failure) => {
            println!("\nFAILED: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// The case that a thread is playing, and when it started.
#[derive(Default)]
struct Now(Mutex<Option<(u64, Instant)>>);

impl Now {
    fn begins(&self, seed: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((seed, Instant::now()));
    }

    fn ends(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn overdue(&self) -> Option<u64> {
        let now = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        now.filter(|(_, since)| since.elapsed() > PATIENCE).map(|(seed, _)| seed)
    }
}
