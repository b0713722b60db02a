#!/usr/bin/env bash
# Runs every check: format, spelling, clippy, links, packages, the tests of all crates with all features, UI and doc tests, durable
# jobs on a real server, the browser tests, the cost of a request, real clients and a short soak. Installs the tools that these need.
# A tool that is still missing is an error: nothing is skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}"
# Nothing is built twice here, so incremental builds would only use several gigabytes.
export CARGO_INCREMENTAL="${CARGO_INCREMENTAL:-0}"
# A failed test says its line without them, too, and they are a seventh of the time to compile a crate with its tests.
export CARGO_PROFILE_DEV_DEBUG="${CARGO_PROFILE_DEV_DEBUG:-none}"

step() { printf '\n== %s (%d s so far)\n' "$*" "$SECONDS"; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# Each line is "command package", or "command=package".
install_missing() {
  local missing=()
  while read -r command package; do
    # Debian does not put the programs of a Postgres server in PATH.
    command -v "$command" >/dev/null || compgen -G "/usr/lib/postgresql/*/bin/$command" >/dev/null || missing+=("$package")
  done <<'TOOLS'
cc gcc
curl curl
wrk wrk
h2load nghttp2-client
initdb postgresql
redis-server redis-server
valgrind valgrind
chromium chromium
chromedriver chromium-driver
node nodejs
npm npm
TOOLS
  # On Debian, the venv module is a separate package.
  python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3 python3-venv)
  if [ "${#missing[@]}" -gt 0 ]; then
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
  fi
}

step "tools"
command -v cargo >/dev/null || { echo "cargo is missing: install Rust 1.85 or newer with rustup" >&2; exit 1; }
cargo fmt --version >/dev/null || rustup component add rustfmt
cargo clippy --version >/dev/null || rustup component add clippy
install_missing

target=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
venv="$target/test-venv"
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -c 'import aiosmtpd' 2>/dev/null && [ -x "$venv/bin/typos" ] || "$venv/bin/pip" install --quiet aiosmtpd typos
export SIGNUP_SMTP_PYTHON="$venv/bin/python"
# Finds accessibility problems of a page.
axe="$target/test-axe/node_modules/axe-core/axe.min.js"
[ -f "$axe" ] || npm install --prefix "$target/test-axe" --silent --no-audit --no-fund axe-core@4

step "format, spelling"
cargo fmt --all --check
"$venv/bin/typos"

step "building the tests"
built=$(mktemp)
cargo test --workspace --all-features --no-run --quiet --message-format json-render-diagnostics >"$built"

# Most tests wait, so steps that need the compiler run in parallel.
tests=$(mktemp) looks=$(mktemp)
looking=
step "tests of all crates, all features: unit, socket, queue, UI, browser and SMTP tests, beside servers of their own"
# The compiler writes gigabytes meanwhile, so a sync can take longer than the five seconds that a transaction has.
DEFER_TEST_FSYNC=off setsid scripts/with-servers.sh scripts/run_tests.py "$built" >"$tests" 2>&1 &
running=$!
# Stops what runs beside another step if that fails. `|| true`: what has ended is not there to be stopped, which is no failure of a step.
trap 'kill -- "-$running" ${looking:+"-$looking"} 2>/dev/null || true; rm -f "$built" "$tests" "$looks"' EXIT

step "meanwhile: clippy, warnings denied"
cargo clippy --quiet --workspace --all-targets --all-features -- -D warnings

step "meanwhile: doc tests"
cargo test --workspace --all-features --doc --quiet

step "meanwhile: documentation, warnings denied, and links"
# For the whole workspace with what its tests need (`--examples` asks for that, there are none), so that no dependency is checked again.
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --all-features --lib --examples --quiet
scripts/links.py "$target/doc"

step "meanwhile: features on their own"
cargo check --quiet -p defer-core -p defer-axum --no-default-features
# .github/workflows/ci.yml checks every feature on its own, which would take minutes here.
for features in axum-server,metrics,testing dashboard,http2,opentelemetry; do
  cargo check --quiet -p defer-axum --features "$features"
done
for feature in sqlite postgres; do
  cargo check --quiet -p defer-sqlx -p defer-river --no-default-features --features "$feature"
done

step "meanwhile: database clients that resolve together"
scripts/resolves.sh

step "meanwhile: packages"
# `scripts/new_user.py` checks that the packages build.
cargo package --quiet --no-verify --allow-dirty -p defer-core -p defer-macros -p defer-axum -p defer-sqlx -p defer-river -p defer-apalis

step "meanwhile: building the soak"
cargo build --quiet --release -p defer-soak
setsid scripts/page.py "$target/release/defer-soak" "$axe" >"$looks" 2>&1 &
looking=$!

step "meanwhile: building the benchmark"
cargo bench --quiet -p defer-benches --bench per_request --no-run
cargo build --quiet --release -p defer-benches --features served --bin served

step "the dashboard, looked at by axe in a browser"
looked=0
wait "$looking" || looked=$?
cat "$looks"
[ "$looked" = 0 ]

step "the tests' results"
passed=0
wait "$running" || passed=$?
cat "$tests"
[ "$passed" = 0 ]

step "what a request costs: instructions and allocations"
cargo bench --quiet -p defer-benches --bench per_request -- --check

step "what a request costs: processor time, compared with a spawned job"
benches/processor_time.py --check

step "real clients: curl, h2load, wrk"
scripts/clients.sh

step "soak, short form"
scripts/soak.sh short

step "all passed"
