#!/usr/bin/env bash
# Tests the crates that need no database with the lowest dependency versions that their manifests declare. Needs a nightly cargo
# to resolve them. Uses a separate workspace, because sqlx and River need newer versions.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

git ls-files -z | xargs -0 cp --parents -P -t "$work"
sed -i 's|^members = .*|members = ["defer-core", "defer-macros", "defer-axum", "tests"]|; /^defer-sqlx/d; /^defer-river/d; /^defer-apalis/d' "$work/Cargo.toml"
cd "$work"
cargo +nightly update --quiet -Z direct-minimal-versions
cargo "${@:-test}" --workspace --all-features
