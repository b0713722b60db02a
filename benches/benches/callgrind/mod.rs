//! Counts instructions.

use std::{io, process::Command};

/// Returns the number of instructions that a program takes with these arguments.
pub(crate) fn count(program: &str, args: &[&str]) -> io::Result<i64> {
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", program])
        // Otherwise glibc merges its fast bins now and then. That takes hundreds of instructions per request, or none,
        // depending on the heap.
        .env("GLIBC_TUNABLES", "glibc.malloc.mxfast=0")
        .args(args)
        .output()
        .map_err(|error| io::Error::other(format!("valgrind could not be run: {error}")))?;
    let log = String::from_utf8_lossy(&run.stderr);
    let collected = log.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    match collected {
        Some(collected) if run.status.success() => Ok(collected),
        _ => Err(io::Error::other(format!("callgrind did not count `{}`:\n{log}", args.join(" ")))),
    }
}
