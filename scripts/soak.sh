#!/bin/sh
# Long runs of a real server: a million jobs under load, a million waiting jobs, a million on the dashboard, and three hundred job
# types there. `soak.sh short` runs fewer of the first two.
set -eu
cd "$(dirname "$0")/.."

requests=200000
jobs=1000000
if [ "${1:-}" = short ]; then
    requests=100000
    jobs=200000
fi

cargo build --quiet --release -p defer-soak
target=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
"$target/release/defer-soak" load "$requests"
"$target/release/defer-soak" pending "$jobs"
"$target/release/defer-soak" types
python3 scripts/soak_page.py "$target/release/defer-soak"
