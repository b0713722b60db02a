//! Plays many cases, and shrinks one that fails.

use std::fmt::{self, Display, Formatter};

use defer_tests::By;

use crate::{
    case::{App, Case, Exchange, Outer, Protocol, Settings, Step, Transport},
    counts::{ByProtocol, Counts},
    generate::Breadth,
    play::play_by,
};

/// A case that failed.
#[derive(Debug)]
pub struct Failure {
    /// The seed of the case.
    pub seed: u64,
    /// The broken promise, and the reason.
    pub message: String,
    /// The case, after shrinking.
    pub case: Case,
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { seed, message, case } = self;
        writeln!(f, "seed {seed}: {message}\n{case}")?;
        write!(f, "To play it again: cargo run -p defer-fuzz -- --seed {seed}")
    }
}

impl Display for Case {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { protocol, transport, settings, app, steps } = self;
        writeln!(f, "{protocol:?}\n{transport:?}\n{settings:?}\n{app:?}")?;
        steps.iter().enumerate().try_for_each(|(at, step)| writeln!(f, "{at:4} {step:?}"))
    }
}

/// Plays the case of a seed.
///
/// # Errors
///
/// Returns the shrunk case if it fails.
pub fn play_seed(seed: u64, all: &mut ByProtocol) -> Result<(), Box<Failure>> {
    let case = Case::of_seed(seed);
    let counts = match case.protocol {
        Protocol::Http1 => &mut all.http1,
        Protocol::Http2 => &mut all.http2,
    };
    *counts += play_or_shrink(By::Defer, seed, case)?;
    Ok(())
}

/// Plays this many cases of one kind, with the seeds from 0.
///
/// # Panics
///
/// If one fails.
pub fn check(by: By, protocol: Protocol, breadth: Breadth, cases: u64) -> Counts {
    let mut all = Counts::default();
    for seed in 0..cases {
        let case = Case::random(seed, protocol, breadth);
        match play_or_shrink(by, seed, case) {
            Ok(counts) => all += counts,
            Err(failure) => {
                panic!("{:?}, {breadth:?}, seed {seed}: {}\n{}", by, failure.message, failure.case)
            }
        }
    }
    all
}

fn play_or_shrink(by: By, seed: u64, case: Case) -> Result<Counts, Box<Failure>> {
    play_by(by, &case).map_err(|message| {
        let (case, message) = shrink(by, case, message);
        Box::new(Failure { seed, message, case })
    })
}

/// Leaves out and simplifies steps as long as the case still fails.
fn shrink(by: By, mut case: Case, mut message: String) -> (Case, String) {
    loop {
        let smaller = smaller(&case).into_iter().find_map(|case| {
            let failure = play_by(by, &case).err().filter(|failure| kind(failure) == kind(&message))?;
            Some((failure, case))
        });
        let Some((failure, smaller)) = smaller else { return (case, message) };
        (message, case) = (failure, smaller);
    }
}

/// Returns the part that two failures with the same cause share: the first word after the time.
fn kind(failure: &str) -> Option<&str> {
    failure.split_once(": ").and_then(|(_, what)| what.split([':', ' ']).next())
}

/// Returns the cases that are one step smaller.
fn smaller(case: &Case) -> Vec<Case> {
    let mut all = Vec::new();
    let steps = case.steps.len();
    // Tries to leave out many steps at once first.
    for part in [steps / 2, steps / 4, 1] {
        for at in (0..steps).step_by(part.max(1)) {
            let mut smaller = case.clone();
            smaller.steps.drain(at..steps.min(at + part.max(1)));
            all.push(smaller);
        }
    }
    let mut plainer = |change: &dyn Fn(&mut Case)| {
        let mut plain = case.clone();
        change(&mut plain);
        if format!("{plain:?}") != format!("{case:?}") {
            all.push(plain);
        }
    };
    let plain = Case::new(case.protocol, []);
    plainer(&|case| case.transport = plain.transport.clone());
    plainer(&|case| case.transport = Transport { per_read: usize::MAX, stutters: false, ..case.transport });
    plainer(&|case| case.settings = plain.settings.clone());
    plainer(&|case| case.settings = Settings { acknowledges: true, ..case.settings });
    plainer(&|case| case.app = plain.app.clone());
    plainer(&|case| case.app = App { outer: Outer::None, ..case.app });
    plainer(&|case| case.app = App { nested: false, ..case.app });
    plainer(&|case| case.app = App { releases_after: false, ..case.app });
    for at in 0..steps {
        let mut change = |change: &dyn Fn(&mut Exchange)| {
            plainer(&|case| {
                if let Step::Request(exchange) = &mut case.steps[at] {
                    change(exchange);
                }
            });
        };
        change(&|exchange| *exchange = Exchange::of(exchange.answer.size));
        change(&|exchange| exchange.request = Exchange::of(0).request);
        change(&|exchange| exchange.answer = Exchange::of(exchange.answer.size).answer);
        change(&|exchange| exchange.answer.size /= 2);
        change(&|exchange| exchange.answer.inner = None);
        change(&|exchange| exchange.answer.stream_job = None);
        change(&|exchange| exchange.answer.fault = None);
        change(&|exchange| exchange.answer.pends = false);
        change(&|exchange| exchange.answer.ends_late = false);
        change(&|exchange| exchange.answer.announced = None);
        change(&|exchange| exchange.answer.empty_chunks = false);
        change(&|exchange| exchange.answer.conditional = false);
        change(&|exchange| exchange.answer.trailers = false);
        change(&|exchange| exchange.answer.jobs = exchange.answer.jobs.min(1));
        change(&|exchange| exchange.answer.outcome = Exchange::of(0).answer.outcome);
        change(&|exchange| exchange.answer.status = 200);
        change(&|exchange| exchange.answer.memory = Exchange::of(0).answer.memory);
        change(&|exchange| exchange.answer.reads = Exchange::of(0).answer.reads);
    }
    all
}
