#!/usr/bin/env bash
# Prints the tables of RESULTS.md one after another: the cost of a request in instructions, allocations and processor time, and the
# throughput of a server over the loopback interface, compared with others. `benches/run.sh [THROUGHPUT [LATENCY [PEERS]]]` takes the
# numbers of rounds (15, 4 and 3). For rates and times, run it on an otherwise idle machine.
#
# Needs valgrind, wrk and h2load; benches/peers/run.sh installs the other servers. It does not print the times of each part
# (`cargo bench -p defer-benches --bench parts`) and the queue (`scripts/with-servers.sh cargo run --release -p
# defer-queue-benches`).
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}"

step() { printf '\n== %s\n\n' "$*"; }

command -v valgrind >/dev/null || { echo "valgrind is missing: install it, it counts the instructions" >&2; exit 1; }
# Runs first, so that nothing is compiled between two tables.
cargo bench --quiet -p defer-benches --no-run

step "per request: instructions, allocations, memory"
cargo bench --quiet -p defer-benches --bench per_request

step "per request: processor time"
benches/processor_time.py

step "observed jobs: instructions"
cargo bench --quiet -p defer-benches --features observed --bench observed
cargo bench --quiet -p defer-benches --features metrics --bench observed

step "over loopback: throughput"
TABLES="none trivial" SECONDS_EACH=1 benches/loopback.sh "${1:-15}"

step "over loopback: latency"
TABLES="apart shared" benches/loopback.sh "${2:-4}"

step "other servers"
SECONDS_EACH=1 benches/peers/run.sh "${3:-3}"
