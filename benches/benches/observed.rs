//! Measures what it costs to observe jobs: instructions, counted by callgrind.
//!
//! `cargo bench -p defer-benches --features observed --bench observed` prints the table. With `--features metrics`, metrics are
//! measured too. With `--features observed,tracing/release_max_level_off`, spans and events are compiled out. That is not one of
//! our features, because `--all-features` would then compile them out of all tests.

mod callgrind;

use std::io;

fn main() -> io::Result<()> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    // `cargo test --benches` runs this too, but without the flag.
    if !args.iter().any(|arg| arg == "--bench") {
        return Ok(());
    }
    println!("| instructions, over nobody | a request's only job | each further job |");
    println!("|---|--:|--:|");
    let unobserved = of_jobs("nobody")?;
    println!("| nobody (itself, over no job) | {} | {} |", unobserved.0, unobserved.1);
    let by: &[&str] = if cfg!(feature = "metrics") {
        &["hook", "fmt", "metrics", "page", "all"]
    } else {
        &["hook", "fmt", "page", "all"]
    };
    for by in by {
        let observed = of_jobs(by)?;
        let (only, further) = (observed.0 - unobserved.0, observed.1 - unobserved.1);
        println!("| {by} | {only:+} | {further:+} |");
    }
    let look = (count("look", "Defer:1", 30)? - count("look", "Defer:1", 10)?) / 20;
    println!("\nA look at the page: {look} instructions.");
    Ok(())
}

/// Returns the instructions of a request's only job, and those of each job beyond the tenth.
fn of_jobs(by: &str) -> io::Result<(i64, i64)> {
    let per_request = |case: &str| Ok::<_, io::Error>((count(by, case, 700)? - count(by, case, 200)?) / 500);
    let (none, one, ten) = (per_request("Defer:0")?, per_request("Defer:1")?, per_request("Defer:10")?);
    let many = (count(by, "Defer:110", 70)? - count(by, "Defer:110", 20)?) / 50;
    Ok((one - none, (many - ten) / 100))
}

fn count(by: &str, case: &str, requests: u64) -> io::Result<i64> {
    callgrind::count(env!("CARGO_BIN_EXE_observed"), &[by, case, &requests.to_string()])
}
