#!/usr/bin/env bash
# Runs axum's own unit tests with `defer_axum::serve` instead of `axum::serve`: its test client is patched to serve each app under
# a `DeferLayer`, with a job for each request. Copies axum's source from Cargo's folder to the target directory. Prints how many
# tests passed, and the deliveries that the jobs saw.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}" CARGO_INCREMENTAL="${CARGO_INCREMENTAL:-0}"

target=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
source=$(cargo metadata --format-version 1 --locked --filter-platform "$(rustc -vV | sed -n "s/host: //p")" | python3 -c '
import json, os, sys
[axum] = [p for p in json.load(sys.stdin)["packages"] if p["name"] == "axum"]
print(os.path.dirname(axum["manifest_path"]))')
suite="$target/axum-suite"
rm -rf "$suite/axum"
mkdir -p "$suite"
cp -r "$source" "$suite/axum"
# The versions tested here.
cp Cargo.lock "$suite/axum/Cargo.lock"

cat >>"$suite/axum/Cargo.toml" <<MANIFEST

[dev-dependencies.defer-axum]
path = "$PWD/defer-axum"
features = ["http2"]

# Its tests are an attribute of this, which the published manifest leaves out.
[dev-dependencies.axum-macros]
version = "*"
features = ["__private"]

[workspace]
MANIFEST

python3 - "$suite/axum/src/test_helpers/test_client.rs" <<'PATCH'
import sys

path = sys.argv[1]
text = open(path).read()
served = "serve(listener, Shared::new(svc))"
if text.count(served) != 1:
    sys.exit("axum's test client has changed: it does not serve as this script expects")
text = text.replace(served, "defer_axum::serve(listener, Shared::new(deferring(svc)))")
text = text.replace("use super::{serve, Request, Response};", "use super::{Request, Response};")
text += '''
/// Defers a job for each request, which writes down how the response ended.
fn deferring<S>(svc: S) -> impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let defers = tower::util::MapRequest::new(svc, |request| {
        defer_axum::defer_fn(|cx| {
            use std::io::Write;
            let told = cx.response().map_or("nothing", |response| response.delivery().as_str());
            let file = std::fs::File::options().append(true).create(true).open(env!("DEFER_TOLD"));
            writeln!(file.unwrap(), "{told}").unwrap();
            async {}
        });
        request
    });
    tower::Layer::layer(&defer_axum::DeferLayer::new(defer_axum::Runner::default()), defers)
}
'''
open(path, "w").write(text)
PATCH

export DEFER_TOLD="$suite/told"
: >"$DEFER_TOLD"
out="$suite/out"
passed=0
CARGO_TARGET_DIR="$suite/target" cargo test --manifest-path "$suite/axum/Cargo.toml" --all-features --lib --no-fail-fast >"$out" 2>&1 || passed=$?
# No match is not an error here: the script returns cargo's own exit code below.
grep -E '^test .* FAILED$|^error|panicked at' "$out" || true
grep -E '^test result' "$out" || { tail -n 40 "$out"; exit 1; }
printf 'jobs told, of axum %s:\n' "${source##*-}"
sort "$DEFER_TOLD" | uniq -c | sort -rn
[ -s "$DEFER_TOLD" ] || { echo "no job ran" >&2; exit 1; }
exit "$passed"
