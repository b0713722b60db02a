//! Long runs of a real server. Each prints its figures at the end, and fails if they break a promise.
//!
//! - `soak load [REQUESTS]` starts a server in another process, and sends it requests that defer five jobs each, over connections
//!   some of which close before the response. It compares the counts of the server, its jobs, its hook and its runner, and
//!   the memory at the end with that after the first tenth.
//! - `soak pending [JOBS]` measures the memory of a waiting job, and the latency of requests while that many jobs are
//!   worked off.
//! - `soak page [SECONDS]` defers a hundred thousand jobs a second under a dashboard. It compares the dashboard's figures with
//!   the runner's, and its memory at the end with that after a second. `scripts/soak_page.py` opens it in a browser.
//! - `soak types` measures the memory that a dashboard uses for three hundred job types.
//! - `soak scene NAME` serves a dashboard that is `empty`, `busy`, `failing`, has its queue `down`, shows three hundred
//!   `types`, or `hostile` names. It runs until its input ends. `scripts/page.py` takes pictures of them.

mod load;
mod memory;
mod page;
mod pending;
mod scene;
mod server;
mod types;

use std::{error::Error, process::ExitCode};

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mode = arguments.next().unwrap_or_default();
    let mut number = || arguments.next().map(|number| number.parse().expect("a number"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let outcome = match &*mode {
        "load" => runtime.block_on(load::run(number().unwrap_or(200_000))),
        "serve" => runtime.block_on(server::run()),
        "pending" => runtime.block_on(pending::run(number().unwrap_or(1_000_000))),
        "page" => runtime.block_on(page::run(number().unwrap_or(10))),
        "types" => runtime.block_on(types::run()),
        "scene" => runtime.block_on(scene::run(&arguments.next().unwrap_or_default())),
        "wait" => runtime.block_on(pending::measure(number().unwrap_or(1_000_000), number().unwrap_or(1))),
        _ => Err("usage: soak load [REQUESTS] | soak pending [JOBS] | soak page [SECONDS] | soak types | soak scene NAME"
            .into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("FAILED: {failure}");
            ExitCode::FAILURE
        }
    }
}
