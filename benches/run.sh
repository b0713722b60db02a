#!/usr/bin/env bash
# Prints everything that is measured here, one table after another: what a request costs in instructions and
# allocations, what each part costs in time, and what a server then does over the loopback interface, in as many rounds
# as the argument says. For the times, on a machine that does nothing else.
#
# Needs valgrind, wrk and h2load. How other libraries compare is a command of its own: benches/peers/run.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}"

step() { printf '\n== %s\n\n' "$*"; }

command -v valgrind >/dev/null || { echo "valgrind is missing: install it, it counts the instructions" >&2; exit 1; }
# First of all, so that nothing is compiled between two tables.
cargo bench --quiet -p defer-benches --no-run

step "per request: instructions, allocations, memory"
cargo bench --quiet -p defer-benches --bench per_request

step "each part: time"
cargo bench --quiet -p defer-benches --bench parts -- --sort location

step "over loopback: throughput and latency"
benches/loopback.sh "$@"
