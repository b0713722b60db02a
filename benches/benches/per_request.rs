//! Measures what a request costs: instructions, counted by callgrind, and allocations.
//!
//! `cargo bench -p defer-benches --bench per_request` prints the tables. With `-- --check`, it fails if a figure exceeds
//! its limit.

mod callgrind;

use std::{
    fmt, io,
    process::{Command, ExitCode},
};

use defer_benches::{Case, Served, Server, Way};

/// A measured case, the case it is compared with, and the most that it may cost in addition.
struct Row {
    what: &'static str,
    measured: Case,
    compared: Case,
    instructions: Bound,
    allocations: Bound,
}

/// The target, and the limit that fails the check: a little above the measured figure.
///
/// The compiler inlines differently as the surrounding program changes, which moves a figure by a tenth or so. Those of spawned
/// tasks move more: depending on where the allocator places ten tasks, freeing them takes 20,400 to 24,100 instructions per
/// request. So jobs are compared with a request without any, which stays the same, and the limits next to spawned tasks are
/// wide. Other data on the heap counts too: one box allocated before the first request changed the figure of `serve` by 220,
/// all of it in `_int_malloc`, `_int_free` and `malloc_consolidate` of glibc.
struct Bound {
    target: i64,
    limit: i64,
}

const fn bound(target: i64, limit: i64) -> Bound {
    Bound { target, limit }
}

const NONE: Case = Case::new(Way::Spawn, 0);

const ROWS: [Row; 6] = [
    Row {
        what: "no job",
        measured: Case::new(Way::Defer, 0),
        compared: NONE,
        instructions: bound(400, 590),
        allocations: bound(0, 0),
    },
    Row {
        what: "one job",
        measured: Case::new(Way::Defer, 1),
        compared: Case::new(Way::Spawn, 1),
        instructions: bound(3_000, 4_550),
        allocations: bound(3, 3),
    },
    Row {
        what: "ten jobs",
        measured: Case::new(Way::Defer, 10),
        compared: Case::new(Way::Spawn, 10),
        instructions: bound(0, 1_230),
        allocations: bound(0, 0),
    },
    Row {
        what: "one job, over none",
        measured: Case::new(Way::Defer, 1),
        compared: NONE,
        instructions: bound(3_000, 5_850),
        allocations: bound(4, 4),
    },
    Row {
        what: "ten jobs, over none",
        measured: Case::new(Way::Defer, 10),
        compared: NONE,
        instructions: bound(14_000, 15_380),
        allocations: bound(6, 6),
    },
    Row {
        what: "each further job",
        measured: Case::new(Way::Defer, 110),
        compared: Case::new(Way::Defer, 10),
        instructions: bound(1_000, 1_070),
        allocations: bound(1, 1),
    },
];

fn main() -> io::Result<ExitCode> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    // `cargo test --benches` runs this too, but without the flag.
    if !args.iter().any(|arg| arg == "--bench") {
        return Ok(ExitCode::SUCCESS);
    }
    let check = args.iter().any(|arg| arg == "--check");
    let mut failures = table()?;
    failures.extend(pending()?);
    failures.extend(served(check)?);
    if !check {
        growth()?;
    }
    for failure in &failures {
        eprintln!("{failure}");
    }
    Ok(if check && !failures.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn table() -> io::Result<Vec<String>> {
    println!("| per request | measured | compared with | difference | target |");
    println!("|---|--:|--:|--:|--:|");
    let mut failures = Vec::new();
    for row in ROWS {
        let per = i64::try_from(row.measured.jobs - row.compared.jobs).unwrap_or(1).max(1);
        let figures = [
            ("instructions", of_case(row.measured)?, of_case(row.compared)?, row.instructions),
            ("allocations", allocations(row.measured)?, allocations(row.compared)?, row.allocations),
        ];
        for (unit, measured, compared, Bound { target, limit }) in figures {
            let per = if row.compared.way == Way::Defer { per } else { 1 };
            let difference = (measured - compared) as f64 / per as f64;
            let what = row.what;
            println!("| {what}, {unit} | {measured} | {compared} | {difference:+} | {target:+} |");
            failures.extend(failure(what, difference, unit, limit));
        }
    }
    Ok(failures)
}

fn failure(what: &str, difference: f64, unit: &str, limit: i64) -> Option<String> {
    (difference > limit as f64).then(|| format!("{what}: {difference:+} {unit}, and the limit is {limit:+}"))
}

/// The lengths of two runs. Their difference is the cost of that many requests.
#[derive(Clone, Copy)]
struct Runs {
    few: i64,
    many: i64,
}

const LONG: Runs = Runs { few: 200, many: 700 };
const SHORT: Runs = Runs { few: 20, many: 70 };

fn of_case(case: Case) -> io::Result<i64> {
    instructions(case, if case.jobs < 100 { LONG } else { SHORT })
}

/// Returns the instructions per request: the difference between two runs, divided by that of their lengths.
fn instructions(case: impl fmt::Display, Runs { few, many }: Runs) -> io::Result<i64> {
    let difference = count_of(&case, many)? - count_of(&case, few)?;
    Ok(difference / (many - few))
}

fn count_of(case: &impl fmt::Display, requests: i64) -> io::Result<i64> {
    callgrind::count(env!("CARGO_BIN_EXE_requests"), &[&case.to_string(), &requests.to_string()])
}

fn allocations(case: impl fmt::Display) -> io::Result<i64> {
    Ok(count(&case.to_string())?.round() as i64)
}

/// Returns the figure that `allocations` prints for a case.
fn count(what: &str) -> io::Result<f64> {
    let run = Command::new(env!("CARGO_BIN_EXE_allocations")).arg(what).output()?;
    let out = String::from_utf8_lossy(&run.stdout);
    out.trim()
        .parse()
        .map_err(|_| io::Error::other(format!("`{what}`: {}", String::from_utf8_lossy(&run.stderr))))
}

fn pending() -> io::Result<Vec<String>> {
    println!("\n| bytes of a pending small job | | target |");
    println!("|---|--:|--:|");
    let of_one_scope = count("pending-in-one-scope:10000")?;
    let of_a_request_each = count("pending-in-a-request-each:10000")?;
    let spawned = count("pending-spawned:10000")?;
    println!("| of a scope with ten thousand | {of_one_scope:.0} | 300 |");
    println!("| of a request of its own, with request and response info | {of_a_request_each:.0} | 300 |");
    println!("| `tokio::spawn` of the same | {spawned:.0} | |");
    let mut failures = Vec::new();
    if of_one_scope > 300.0 {
        failures.push(format!("a pending job takes {of_one_scope:.0} bytes, and the limit is 300"));
    }
    if of_a_request_each > 570.0 {
        failures.push(format!("a pending request takes {of_a_request_each:.0} bytes, and the limit is 570"));
    }
    Ok(failures)
}

/// The cost of a request on a connection, next to its cost under `axum::serve`.
struct ServedRow {
    what: &'static str,
    measured: Served,
    compared: Served,
    runs: Runs,
    /// The bounds on instructions and on allocations, if there are any.
    bounds: Option<(Bound, Bound)>,
}

const fn small(what: &'static str, server: Server, way: Way, jobs: u64) -> ServedRow {
    ServedRow {
        what,
        measured: Served::new(server, Case::new(way, jobs)),
        compared: Served::new(Server::Axum, Case::new(Way::Spawn, jobs)),
        runs: LONG,
        bounds: None,
    }
}

const fn megabyte(what: &'static str, way: Way) -> ServedRow {
    ServedRow {
        what,
        measured: Served::new(Server::Defer, Case::new(way, 0)).with_megabyte(),
        compared: Served::new(Server::Axum, NONE).with_megabyte(),
        runs: SHORT,
        bounds: None,
    }
}

const SERVED: [ServedRow; 7] = [
    small("`defer_axum::serve` alone", Server::Defer, Way::Spawn, 0),
    small("the layer alone", Server::Axum, Way::Defer, 0),
    ServedRow {
        bounds: Some((bound(900, 1_250), bound(1, 1))),
        ..small("`serve` and the layer", Server::Defer, Way::Defer, 0)
    },
    small("the layer alone, one job", Server::Axum, Way::Defer, 1),
    small("`serve` and the layer, one job", Server::Defer, Way::Defer, 1),
    megabyte("`defer_axum::serve` alone, a megabyte", Way::Spawn),
    megabyte("`serve` and the layer, a megabyte", Way::Defer),
];

/// Leaves out rows without bounds if `only_bounded`, as the check does.
fn served(only_bounded: bool) -> io::Result<Vec<String>> {
    println!(
        "\n| per request on a connection | measured | under `axum::serve`, jobs spawned | difference | target |"
    );
    println!("|---|--:|--:|--:|--:|");
    let mut failures = Vec::new();
    for ServedRow { what, measured, compared, runs, bounds } in SERVED {
        if only_bounded && bounds.is_none() {
            continue;
        }
        let (of_instructions, of_allocations) = bounds.unzip();
        let figures = [
            ("instructions", instructions(measured, runs)?, instructions(compared, runs)?, of_instructions),
            ("allocations", allocations(measured)?, allocations(compared)?, of_allocations),
        ];
        for (unit, measured, compared, bound) in figures {
            let difference = measured - compared;
            let target = bound.as_ref().map(|bound| format!("{:+}", bound.target)).unwrap_or_default();
            println!("| {what}, {unit} | {measured} | {compared} | {difference:+} | {target} |");
            failures.extend(bound.and_then(|bound| failure(what, difference as f64, unit, bound.limit)));
        }
    }
    Ok(failures)
}

fn growth() -> io::Result<()> {
    println!("\n| instructions per job, by jobs per request | 1 | 10 | 100 | 1,000 |");
    println!("|---|--:|--:|--:|--:|");
    for way in Way::ALL {
        print!("| {way:?} |");
        let none = of_case(NONE)?;
        for jobs in [1u64, 10, 100, 1_000] {
            let all = of_case(Case::new(way, jobs))? - none;
            print!(" {} |", all / i64::try_from(jobs).unwrap_or(i64::MAX));
        }
        println!();
    }
    println!("\n| allocations, by jobs per request | 0 | 1 | 10 | 100 | 1,000 |");
    println!("|---|--:|--:|--:|--:|--:|");
    for way in Way::ALL {
        print!("| {way:?} |");
        let none = allocations(NONE)?;
        for jobs in [0u64, 1, 10, 100, 1_000] {
            print!(" {} |", allocations(Case::new(way, jobs))? - none);
        }
        println!();
    }
    println!("\n| pending jobs | 10 | 1,000 | 100,000 | 1,000,000 |");
    println!("|---|--:|--:|--:|--:|");
    for what in ["pending-in-one-scope", "pending-in-a-request-each", "pending-spawned"] {
        print!("| bytes per job, {what} |");
        for jobs in [10, 1_000, 100_000, 1_000_000] {
            print!(" {:.0} |", count(&format!("{what}:{jobs}"))?);
        }
        println!();
    }
    Ok(())
}
