#!/usr/bin/env bash
# Measures requests per second against the length of a job that follows each response, with this crate and with other ways to run
# work after a response. Every peer gets the same load, `wrk -t 1 -c 32`, in turn, and starts anew for each run, so that no
# jobs are left from the run before.
#
# `benches/peers/run.sh [ROUNDS [CSV]]` (default 5, and throughput.csv next to this script) takes two minutes per round.
# It prints tables, writes the figures of all runs, and plots their medians as .svg next to them. It installs missing
# programs: Debian packages with apt-get, and Python packages into the target directory. The peers run as separate processes
# with their own configuration, and do not touch the system's services.
# SECONDS_EACH sets the length of a run (2), JOBS the lengths of jobs in milliseconds ("0 1 5 20 50 200").
set -euo pipefail
cd "$(dirname "$0")/../.."
. benches/lib.sh

rounds=${1:-5}
csv=${2:-benches/peers/throughput.csv}
seconds=${SECONDS_EACH:-2}
read -ra jobs <<<"${JOBS:-0 1 5 20 50 200}"
peers=(php fastapi node axum-inline axum-spawn axum-defer)
here=benches/peers
# Debian has servers in a folder that only root has in PATH.
PATH=$PATH:/usr/sbin

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# The name of php-fpm contains PHP's version.
find_php_fpm() { compgen -c php-fpm | sort -V | tail -n 1; }

install_missing() {
  local missing=() services=() command package service
  while read -r command package; do
    command -v "$command" >/dev/null || missing+=("$package")
  done <<'TOOLS'
wrk wrk
curl curl
node nodejs
nginx nginx-light
python3 python3
TOOLS
  [ -n "$(find_php_fpm)" ] || missing+=(php-fpm)
  python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
  if [ "${#missing[@]}" -gt 0 ]; then
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
  fi >&2
  # Debian starts a package's service when it installs the package. Stop those, but leave alone services that were there before.
  for package in "${missing[@]}"; do
    case $package in
      nginx-light) services+=(nginx) ;;
      php-fpm) services+=("$(basename "$(find_php_fpm)" | sed 's/^php-fpm/php/')-fpm") ;;
    esac
  done
  # Nothing has to be stopped where Debian's policy does not start services, as in containers.
  for service in "${services[@]}"; do
    as_root service "$service" stop >&2 || true
  done
}

install_python_packages() {
  venv=$(target_directory)/peers-venv
  [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
  "$venv/bin/python" -c 'import fastapi, uvicorn, uvloop, httptools' 2>/dev/null ||
    "$venv/bin/pip" install --quiet fastapi 'uvicorn[standard]' >&2
}

# configure NAME PORT: fills in a configuration.
configure() {
  local user group
  # The servers use these only if root starts them, to drop root's rights.
  if [ "$(id -u)" = 0 ]; then user=www-data; else user=$(id -un); fi
  group=$(id -gn "$user")
  sed -e "s|WORK|$work|g" -e "s|PORT|$2|g" -e "s|USER|$user|g" -e "s|GROUP|$group|g" "$here/$1" >"$work/$1"
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

start_php() {
  local port
  port=$(free_port)
  configure php-fpm.conf "$port"
  configure nginx.conf "$port"
  cp "$here/index.php" "$work/"
  # Lets the children in, which do not run as root.
  chmod 755 "$work"
  rm -f "$work/php-fpm.sock"
  "$php_fpm" --fpm-config "$work/php-fpm.conf" >"$work/php-fpm.out" 2>&1 &
  pids+=("$!")
  nginx -p "$work" -e "$work/nginx.log" -c "$work/nginx.conf" >"$work/nginx.out" 2>&1 &
  pids+=("$!")
  base=http://127.0.0.1:$port
  for _ in $(seq 200); do
    [ "$(curl -s --max-time 5 "$base/")" != hello ] || return 0
    sleep 0.05
  done
  cat "$work"/{php-fpm,nginx}.{log,out} >&2
  fail "nginx with php-fpm did not start"
}

# start_peer PEER JOB_MS: sets `base`. Every peer is one process, except for php-fpm's five children.
start_peer() {
  export JOB_MS=$2
  case $1 in
    php) start_php ;;
    fastapi)
      start "$venv/bin/uvicorn" --app-dir "$here" --port 0 --no-access-log fastapi_app:app
      ;;
    node) start node "$here/node.js" ;;
    axum-*) start "$served" "${1#axum-}:sleep-$2" ;;
  esac
}

# shellcheck disable=SC2016 # The backticks are markdown.
print_peers() {
  local php
  php=$("$php_fpm" --version)
  print_versions
  printf -- '- %s, %s: one worker; pm = static, pm.max_children = 5; `fastcgi_finish_request`\n' \
    "$(nginx -v 2>&1 | sed 's/.*: //')" "$(sed -n '1s/ (.*//p' <<<"$php")"
  printf -- '- %s, FastAPI %s, uvicorn %s with uvloop %s and httptools %s: one process; `BackgroundTasks`\n' \
    "$("$venv/bin/python" --version)" "$(python_version fastapi)" "$(python_version uvicorn)" \
    "$(python_version uvloop)" "$(python_version httptools)"
  printf -- '- Node %s: one process; `setTimeout` after `response.end`\n' "$(node --version)"
  printf -- '- axum: one process, one thread for each core; the job awaited by the handler, spawned, or deferred\n'
}

python_version() {
  "$venv/bin/python" -c 'import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))' "$1"
}

need cargo
install_missing
install_python_packages
php_fpm=$(find_php_fpm)
build_served

# Kept separately until everything is measured, so that an aborted run replaces nothing.
echo "peer,job_ms,round,requests_per_second,p50_us,p99_us,errors" >"$work/throughput.csv"
for round in $(seq "$rounds"); do
  for job in "${jobs[@]}"; do
    progress "round $round of $rounds, jobs of $job ms"
    for peer in $(in_turn "$round" "${peers[@]}"); do
      start_peer "$peer" "$job"
      # Warms up: the first requests compile and import code.
      drive_wrk 4 1 "$base/" >"$work/warm-up"
      figures=$(drive_wrk 32 "$seconds" "$base/")
      stop_servers
      printf '%s,%s,%s,%s\n' "$peer" "$job" "$round" "${figures// /,}" >>"$work/throughput.csv"
    done
  done
done
cp "$work/throughput.csv" "$csv"

print_peers
python3 "$here/tables.py" "$csv"
python3 "$here/plot.py" "$csv" "${csv%.csv}.svg"
