#!/usr/bin/env bash
# Checks which database clients resolve together with `defer-sqlx`: libsqlite3-sys can be linked only once. Keep it in line with
# the documentation of `QueueTransaction`.
set -euo pipefail
cd "$(dirname "$0")/.."
crate="$PWD/defer-sqlx"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src" && touch "$folder/src/lib.rs"

# Prints yes if a program with these features of defer-sqlx and these dependencies (one per argument) resolves, or no.
resolves() {
  {
    printf '[package]\nname = "program"\nversion = "0.0.0"\nedition = "2024"\n[workspace]\n[dependencies]\n'
    printf 'defer-sqlx = { path = "%s", default-features = false, features = [%s] }\n' "$crate" "$1"
    printf '%s\n' "${@:2}"
  } >"$folder/Cargo.toml"
  rm -f "$folder/Cargo.lock"
  cargo generate-lockfile --quiet --manifest-path "$folder/Cargo.toml" 2>"$folder/error" && echo yes && return
  # Any other error is not an answer.
  grep -q 'links to the native library `sqlite3`' "$folder/error" || { cat "$folder/error" >&2; return 1; }
  echo no
}

check() {
  local found
  found=$(resolves "${@:2}")
  [ "$found" = "$1" ] || { echo "expected '$1' and found '$found': ${*:2}" >&2; exit 1; }
}

sqlx_0_8='sqlx = { version = "0.8", features = ["sqlite", "postgres", "runtime-tokio"] }'
sea_orm='sea-orm = { version = "1", features = ["sqlx-sqlite", "sqlx-postgres", "runtime-tokio"] }'
sea_orm_2='sea-orm = { version = "2", features = ["sqlx-sqlite", "sqlx-postgres", "runtime-tokio"] }'
diesel='diesel = { version = "2", features = ["sqlite", "postgres"] }'
rusqlite() { echo "rusqlite = \"$1\""; }

check yes '"sqlite", "sqlx-0_8-sqlite"' "$sqlx_0_8"
check yes '"postgres", "sqlx-0_8-postgres"' "$sqlx_0_8"
check yes '"sqlite", "sea-orm"' "$sea_orm"
check yes '"sqlite", "sea-orm-2"' "$sea_orm_2"
check yes '"sqlite", "diesel-async-sqlite"' "$diesel"
check yes '"sqlite", "postgres", "sqlx-0_8-sqlite", "sqlx-0_8-postgres", "sea-orm", "sea-orm-2", "diesel-async-sqlite", "diesel-async-postgres", "tokio-postgres"' "$sqlx_0_8" "$diesel"

# One client's features lock none of another's: with a weak `sqlx-0_8?/sqlite` the third of these would not resolve.
check no '"sqlite"' "$(rusqlite 0.31)"
check yes '"sqlite"' "$(rusqlite 0.32)"
check yes '"sqlite"' "$(rusqlite 0.39)"
check no '"sqlite"' "$(rusqlite 0.40)"
check yes '"sqlite", "sqlx-0_8-sqlite"' "$(rusqlite 0.32)"
check no '"sqlite", "sqlx-0_8-sqlite"' "$(rusqlite 0.37)"
check yes '"postgres", "sqlx-0_8-postgres"' "$(rusqlite 0.40)"
check yes '"postgres", "sea-orm", "sea-orm-2", "diesel-async-postgres", "tokio-postgres"' "$(rusqlite 0.40)"
