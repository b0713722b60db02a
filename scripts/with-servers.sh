#!/usr/bin/env bash
# Runs a command next to its own Postgres and Redis servers, on free ports. DEFER_TEST_POSTGRES and DEFER_TEST_REDIS are their URLs.
# Postgres syncs each commit to disk, unless DEFER_TEST_FSYNC is off. A busy disk then delays no transaction, and only a crash of the
# machine loses any. Redis writes nothing to disk.
set -euo pipefail

folder=$(mktemp -d)
redis=
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# Postgres refuses to run as root.
as_postgres() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }

stop() {
  [ ! -e "$folder/postgres/postmaster.pid" ] || as_postgres "$postgres/pg_ctl" -s -D "$folder/postgres" -m immediate stop || true
  [ -z "$redis" ] || kill "$redis" 2>/dev/null || true
  rm -rf "$folder"
}
trap stop EXIT

postgres=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
[ -n "$postgres" ] || postgres=$(dirname "$(command -v postgres)")
port=$(free_port)
[ "$(id -u)" != 0 ] || chown postgres "$folder"
as_postgres "$postgres/initdb" -D "$folder/postgres" -A trust -U postgres >/dev/null
as_postgres "$postgres/pg_ctl" -s -w -D "$folder/postgres" -l "$folder/postgres.log" \
  -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=400 -c fsync=${DEFER_TEST_FSYNC:-on}" start
export DEFER_TEST_POSTGRES="postgres://postgres@127.0.0.1:$port"

port=$(free_port)
redis-server --port "$port" --bind 127.0.0.1 --save '' --appendonly no --dir "$folder" >"$folder/redis.log" &
redis=$!
until redis-cli -p "$port" ping >/dev/null 2>&1; do
  kill -0 "$redis" 2>/dev/null || { cat "$folder/redis.log" >&2; exit 1; }
  # Polled: the server notifies nobody that it listens.
  sleep 0.05
done
export DEFER_TEST_REDIS="redis://127.0.0.1:$port"

"$@"
