#!/usr/bin/env bash
# Requests per second of `defer_axum::serve` with a `DeferLayer` and no jobs, against `axum::serve` without: paired runs
# in turn, medians and their ratio. `scripts/throughput.sh ROUNDS` (5 unless given). Needs wrk and h2load.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-5}
cargo build --quiet --release -p defer-tests --bin throughput-server
target=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT

declare -A base
for server in axum defer; do
  "$target/release/throughput-server" "$server" >"$work/$server" &
  until grep -q '^listening' "$work/$server"; do sleep 0.1; done # It prints its address when it listens.
  base[$server]=$(sed -n 's/^listening on //p' "$work/$server")
done

http1() { wrk -t 1 -c 32 -d 2s "$1" | sed -n 's/^Requests\/sec: *//p'; }
http2() { h2load -D 2 -c 4 -m 32 "$1" | sed -n 's/^finished in .*, \([0-9.]*\) req\/s.*/\1/p'; }

for protocol in http1 http2; do
  for path in small large; do
    for server in axum defer; do "$protocol" "${base[$server]}/$path" >/dev/null; done
    for _ in $(seq "$rounds"); do
      for server in axum defer; do
        "$protocol" "${base[$server]}/$path" >>"$work/$protocol.$path.$server"
      done
    done
    python3 - "$protocol $path" "$work/$protocol.$path" <<'PY'
import statistics, sys
name, path = sys.argv[1:]
axum, defer = ([float(line) for line in open(f"{path}.{server}")] for server in ("axum", "defer"))
ratios = [d / a for a, d in zip(axum, defer)]
a, d = statistics.median(axum), statistics.median(defer)
print(f"{name:12} axum {a:9.0f}/s  defer {d:9.0f}/s  ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")
PY
  done
done
