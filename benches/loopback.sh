#!/usr/bin/env bash
# Measures what deferring costs a server in requests per second and in latency, over the loopback interface. Runs the variants
# in turn, and reports the medians of their ratios. `benches/loopback.sh [ROUNDS]` (default 7) takes two minutes per round,
# and prints markdown. Needs wrk, h2load, taskset and python3. SECONDS_EACH sets the length of a run (2), TABLES selects some
# of them ("none trivial apart timer shared"), and CSV is a file for the figures of all runs.
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/lib.sh

rounds=${1:-7}
seconds=${SECONDS_EACH:-2}
csv=${CSV:-$work/loopback.csv}
tables=${TABLES:-none trivial apart timer shared}
need wrk h2load taskset python3
build_served

# run TABLE LOAD ROUND VARIANTS.. -- DRIVER..: drives each variant in turn, with a new server each. Calls the driver with
# `base` set, and starts the server with the command `prefix`.
prefix=()
run() {
  local table=$1 load=$2 round=$3 variants=() variant figures
  [[ " $tables " = *" $table "* ]] || return 0
  shift 3
  while [ "$1" != -- ]; do
    variants+=("$1")
    shift
  done
  shift
  for variant in $(in_turn "$round" "${variants[@]}"); do
    start "${prefix[@]}" "$served" "$variant"
    figures=$("$@")
    stop_servers
    printf '%s,"%s",%s,%s,%s\n' "$table" "$load" "$variant" "$round" "${figures// /,}" >>"$csv"
  done
}

http1() { drive_wrk 32 "$seconds" "$base$1"; }
http2() { drive_h2load "$seconds" "$base$1"; }
# Twice as long: a p99 needs many requests, and these come slowly.
thinking() { drive_wrk "$1" $((2 * seconds)) "$base/" 20; }
at_once() { drive_wrk "$1" "$seconds" "$base/"; }

# A client on the server's machine distorts latencies: the kernel tends to wake the receiver of a local packet on the sender's
# core, as if the sender were about to sleep. There it waits for the job that follows the response. So wrk gets the last core
# and the server the others, as if they were two machines.
last=$(($(nproc) - 1))
[ "$last" -gt 0 ] || fail "the latency runs need two cores"
apart() { taskset -cp "$last" "$BASHPID" >/dev/null && "$@"; }
server_apart=(taskset -c "0-$((last - 1))")

echo "table,load,variant,round,requests_per_second,p50_us,p99_us,errors" >"$csv"
for round in $(seq "$rounds"); do
  progress "round $round of $rounds"
  run none "HTTP/1, 5 bytes" "$round" inline:none defer:none -- http1 /
  run none "HTTP/1, 1 MB" "$round" inline:none defer:none -- http1 /large
  run none "HTTP/2, 5 bytes" "$round" inline:none defer:none -- http2 /
  run none "HTTP/2, 1 MB" "$round" inline:none defer:none -- http2 /large
  run trivial "HTTP/1, 5 bytes" "$round" \
    spawn:trivial tracker:trivial defer-under-axum:trivial defer:trivial -- http1 /
  for connections in 1 4 8; do
    run shared "$connections thinking" "$round" spawn:cpu defer:cpu -- thinking "$connections"
  done
  prefix=("${server_apart[@]}")
  for connections in 1 4 8; do
    run apart "$connections thinking" "$round" spawn:cpu defer:cpu -- apart thinking "$connections"
    run timer "$connections thinking" "$round" spawn:cpu-timer defer:cpu-timer -- apart thinking "$connections"
  done
  for connections in 1 4 8; do
    run apart "$connections at once" "$round" spawn:cpu defer:cpu -- apart at_once "$connections"
  done
  prefix=()
done

print_versions
printf -- '- %s\n' "$(h2load --version)"
python3 benches/loopback_tables.py "$csv"
