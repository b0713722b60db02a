#!/usr/bin/env bash
# Tests the crates with the lowest dependency versions that their manifests declare, next to their own Postgres and Redis servers.
# Each queue has a workspace of its own, because its engine needs newer versions than the other crates.
set -euo pipefail
cd "$(dirname "$0")/.."
repository=$PWD
command=("${@:-test}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

git ls-files -z | xargs -0 cp --parents -P -t "$work"
cd "$work"
# Before 0.9, diesel-async takes closures of another kind.
rm tests/transactions/tests/diesel_closure.rs
sed -i '/feature = "diesel-async-postgres"/s/"```"/"```text"/' defer-sqlx/src/guide/pushing.rs

# The other crates come from the repository: only the dependencies of members are at their lowest.
with_lowest() {
  sed "s|^members = .*|members = [$(printf '"%s", ' "$@")]|; s|path = \"|&$repository/|" "$repository/Cargo.toml" >Cargo.toml
  for member in "$@"; do sed -i "s|\"$repository/$member\"|\"$member\"|" Cargo.toml; done
  # A stable cargo, too, has the option with RUSTC_BOOTSTRAP.
  RUSTC_BOOTSTRAP=1 cargo update --quiet -Z direct-minimal-versions
  scripts/with-servers.sh cargo "${command[@]}" --workspace --all-features
}

with_lowest defer-core defer-macros defer-axum tests tests/fuzz
with_lowest defer-sqlx tests/transactions
with_lowest defer-river
with_lowest defer-apalis
