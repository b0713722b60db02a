#!/usr/bin/env bash
# Sends requests to a server under `defer_axum::serve` with real clients. Checks that the runner then has run one job for each
# response, and that none is pending.
set -euo pipefail
cd "$(dirname "$0")/.."

for tool in curl h2load wrk python3; do
  command -v "$tool" >/dev/null || { echo "$tool is missing: scripts/test.sh installs it" >&2; exit 1; }
done

cargo build --quiet --release -p defer-soak
target=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
work=$(mktemp -d)
"$target/release/clients-server" >"$work/out" 2>"$work/err" &
server=$!
trap 'kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT

for _ in $(seq 100); do
  base=$(sed -n 's/^listening on //p' "$work/out")
  [ -n "$base" ] && break
  kill -0 "$server" || { cat "$work/err" >&2; exit 1; }
  sleep 0.1 # The server prints its address when it listens; there is nothing to wait on but the file.
done
[ -n "$base" ] || { echo "the server did not start" >&2; exit 1; }

failed=0
# Requests the server's counts once it is idle: jobs deferred, succeeded, pending, and by delivery.
check() {
  local name=$1 responses=$2 exactly=$3 stats
  stats=$(curl -sS --max-time 60 "$base/stats")
  python3 - "$name" "$responses" "$exactly" "$stats" <<'PY' || failed=1
import json, sys
name, responses, exactly, stats = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "exactly", json.loads(sys.argv[4])
good = stats["pending"] == 0 and stats["running"] == 0 and stats["succeeded"] == stats["deferred"]
good = good and (stats["sent"] == responses == stats["deferred"] if exactly else stats["sent"] >= responses)
print(f"{'ok  ' if good else 'FAIL'} {name}: {responses} responses, {stats}")
sys.exit(not good)
PY
  curl -sS --max-time 60 -o "$work/reset" -X POST "$base/reset"
}

for path in hello large stream; do
  curl -sS --max-time 60 -o "$work/body" "$base/$path"
  check "curl HTTP/1.1 /$path" 1 exactly
  curl -sS --max-time 60 --http2-prior-knowledge -o "$work/body" "$base/$path"
  check "curl HTTP/2 /$path" 1 exactly
  curl -sS --max-time 60 -I -o "$work/body" "$base/$path"
  check "curl HEAD /$path" 1 exactly
done

for path in hello large; do
  n=$([ "$path" = hello ] && echo 20000 || echo 500)
  h2load -n "$n" -c 4 -m 100 "$base/$path" >"$work/h2load"
  done_=$(sed -n 's/^requests: .* \([0-9]*\) succeeded.*/\1/p' "$work/h2load")
  [ "$done_" = "$n" ] || { cat "$work/h2load"; failed=1; }
  check "h2load, 100 streams, /$path" "${done_:-0}" exactly
done

# wrk leaves with requests still open. Their jobs run too, but it does not count those responses.
for path in hello large stream; do
  wrk -t 2 -c 32 -d 3s "$base/$path" >"$work/wrk"
  done_=$(sed -n 's/^ *\([0-9]*\) requests in.*/\1/p' "$work/wrk")
  check "wrk, keep-alive, /$path" "${done_:-0}" at-least
done

kill -TERM "$server"
wait "$server" || { echo "the server did not stop cleanly" >&2; failed=1; }
[ "$failed" = 0 ] || { cat "$work/err" >&2; echo "real clients: FAILED" >&2; exit 1; }
echo "real clients: passed"
