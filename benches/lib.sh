# For loopback.sh and peers/run.sh to source, in the workspace's folder: starts servers, drives them, and stops what was
# started however the script ends.
# shellcheck shell=bash

# No bytecode is left beside the scripts.
export PYTHONDONTWRITEBYTECODE=1
work=$(mktemp -d)
pids=() # Of the servers that run.

# Ends each server and waits for it. One that drains is given 5 s. What fails here does so because a server has ended by
# itself, which is no reason to leave the others running; and a server that was told to end does not exit with 0.
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

# start COMMAND..: starts a server that says where it listens, and sets `base` to its address.
start() {
  # Emptied first: the wait below must not find what the server before this one said.
  : >"$work/server.log"
  "$@" >"$work/server.log" 2>&1 &
  pids+=("$!")
  # There is nothing to wait on but the log.
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

# The order of this round's turns: there and back, so that a drift of the machine's speed favours nobody.
in_turn() {
  local round=$1
  shift
  if [ $((round % 2)) = 1 ]; then printf '%s\n' "$@"; else printf '%s\n' "$@" | tac; fi
}

locked_version() {
  awk -v name="name = \"$1\"" '$0 == name { getline; gsub(/version = |"/, ""); print; exit }' Cargo.lock
}

# Names what the figures depend on, as a list.
print_versions() {
  local crate
  printf -- '- machine: %s, %s cores, Linux %s\n' \
    "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" "$(uname -r)"
  printf -- '- %s\n' "$(rustc --version)"
  for crate in axum tokio hyper hyper-util h2 tokio-util; do
    printf -- '- %s %s\n' "$crate" "$(locked_version "$crate")"
  done
  # wrk says its version with its usage, which is an error to it.
  printf -- '- %s\n' "$(wrk -v 2>&1 | sed -n '1s/ \[.*//p' || true)"
}
