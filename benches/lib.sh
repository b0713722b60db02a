# loopback.sh and peers/run.sh source this in the workspace's folder. It starts servers, drives them, and stops them however the
# script ends.
# shellcheck shell=bash

# Leaves no bytecode next to the scripts.
export PYTHONDONTWRITEBYTECODE=1
work=$(mktemp -d)
pids=() # Of the servers that run.

# Stops each server and waits for it. A server that drains gets 5 s. Ignores failures: a server may have exited already, and
# one that was told to stop does not exit with 0.
stop_servers() {
  local pid
  for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do
    for _ in $(seq 100); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.05
    done
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  pids=()
}

trap 'stop_servers; rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

need() {
  local tool
  for tool; do command -v "$tool" >/dev/null || fail "$tool is missing"; done
}

progress() { printf '%s\n' "$*" >&2; }

target_directory() {
  cargo metadata --format-version 1 --no-deps |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])'
}

# Sets `served` to the server's path.
build_served() {
  cargo build --quiet --release -p defer-benches --features served --bin served
  # shellcheck disable=SC2034 # The scripts that source this use it.
  served=$(target_directory)/release/served
}

# start COMMAND..: starts a server that prints its address, and sets `base` to that.
start() {
  # Cleared first, so that the wait below does not find the output of the previous server.
  : >"$work/server.log"
  "$@" >"$work/server.log" 2>&1 &
  pids+=("$!")
  # Polled: the log is the only signal.
  for _ in $(seq 200); do
    base=$(sed -nE 's/.*(listening|running) on (http:[^ ]*).*/\2/p' "$work/server.log")
    [ -z "$base" ] || return 0
    kill -0 "${pids[-1]}" 2>/dev/null || break
    sleep 0.05
  done
  cat "$work/server.log" >&2
  fail "the server did not start: $*"
}

# The drivers print one line: requests per second, p50 and p99 in microseconds (0 if unknown), and errors.

# drive_wrk CONNECTIONS SECONDS URL [THINK_MS]
drive_wrk() {
  local out
  out=$(wrk -t 1 -c "$1" -d "${2}s" --latency -s benches/wrk.lua "$3" ${4:+-- "$4"})
  sed -n 's/^figures //p' <<<"$out" | grep . || fail "wrk gave no figures:"$'\n'"$out"
}

# drive_h2load SECONDS URL: four connections with 32 streams each.
drive_h2load() {
  local out
  out=$(h2load -D "$1" -c 4 -m 32 "$2")
  awk '
    /^finished in/ { rate = $4 }
    /^requests:/ { errors = $10 + $12 + $14 }
    END { if (!rate) exit 1; print rate, 0, 0, errors }
  ' <<<"$out" || fail "h2load gave no figures:"$'\n'"$out"
}

# The order of this round's turns. It alternates, so that a drift of the machine's speed favors no variant.
in_turn() {
  local round=$1
  shift
  if [ $((round % 2)) = 1 ]; then printf '%s\n' "$@"; else printf '%s\n' "$@" | tac; fi
}

locked_version() {
  awk -v name="name = \"$1\"" '$0 == name { getline; gsub(/version = |"/, ""); print; exit }' Cargo.lock
}

# Lists the versions that the figures depend on.
print_versions() {
  local crate
  printf -- '- machine: %s, %s cores, Linux %s\n' \
    "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" "$(uname -r)"
  printf -- '- %s\n' "$(rustc --version)"
  for crate in axum tokio hyper hyper-util h2 tokio-util; do
    printf -- '- %s %s\n' "$crate" "$(locked_version "$crate")"
  done
  # wrk prints its version with its usage, and exits with an error.
  printf -- '- %s\n' "$(wrk -v 2>&1 | sed -n '1s/ \[.*//p' || true)"
}
