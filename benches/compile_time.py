#!/usr/bin/env python3
"""Measures how long a job type takes to compile, compared with a spawned task.

    benches/compile_time.py [--counts FEW MANY] [--rounds N] [--profile debug|release|both] [--repo PATH] [--check]
    benches/compile_time.py --lines [--repo PATH]

Writes an axum server with few handlers and one with many, each twice: a handler defers a job of its own type, or spawns a task that
does the same. The cost of a type is the slope between few and many. Only the server itself is compiled for that, with cargo's default
profiles and without incremental compilation.

The time is the processor time of cargo, rustc and the linker: other programs on the machine change it by some percent, not by a
multiple. With `--lines`, it is lines of LLVM IR before optimization instead, which another run repeats exactly.
"""

import argparse
import collections
import json
import os
import pathlib
import re
import resource
import shutil
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAMS = ("deferred", "spawned")
# The seconds that a job type may cost more than a spawned task.
LIMITS = {"debug": 0.05, "release": 0.20}
# Used with `--lines`.
COUNTS_OF_LINES = (1, 20)
TOP = 25

# The repository's lock file decides the versions.
MANIFEST = """\
[package]
name = "compile-time"
version = "0.0.0"
edition = "2024"

[dependencies]
axum = {{ version = "*", default-features = false, features = ["http1", "tokio"] }}
defer-axum = {{ path = "{repo}/defer-axum" }}
tokio = {{ version = "*", features = ["macros", "net", "rt-multi-thread", "time"] }}

[workspace]
"""

WORK = 'tokio::time::sleep(Duration::from_millis(self.n)).await; println!("{number} {{}}", self.to);'

HEADS = {
    "deferred": "use defer_axum::{DeferLayer, Deferrable, Job, JobContext, JobResult, Runner};\n",
    "spawned": "",
}

TYPES = {
    "deferred": """
#[derive(Deferrable)]
#[defer(tries = 3, timeout = "10s")]
struct Mail{number} {{ to: String, n: u64 }}
impl Job for Mail{number} {{
    async fn run(&self, _: &JobContext) -> JobResult {{ {work} Ok(()) }}
}}
async fn handler{number}() {{ Mail{number}::defer("a", {number}u64); }}
""",
    "spawned": """
struct Mail{number} {{ to: String, n: u64 }}
impl Mail{number} {{
    async fn run(&self) {{ {work} }}
}}
async fn handler{number}() {{
    let mail = Mail{number} {{ to: "a".into(), n: {number} }};
    tokio::spawn(async move {{ mail.run().await }});
}}
""",
}

LAYERS = {"deferred": ".layer(DeferLayer::new(Runner::global()))", "spawned": ""}

MAIN = """
#[tokio::main]
async fn main() {{
    let app = Router::new(){routes}{layer};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    axum::serve(listener, app).await.unwrap();
}}
"""


def program(name: str, count: int) -> str:
    types = "".join(TYPES[name].format(number=number, work=WORK.format(number=number)) for number in range(count))
    routes = "".join(f'\n        .route("/{number}", post(handler{number}))' for number in range(count))
    head = "use axum::{Router, routing::post};\nuse std::time::Duration;\n" + HEADS[name]
    return head + types + MAIN.format(routes=routes, layer=LAYERS[name])


def checked(command: list[str], where: pathlib.Path, **options) -> str:
    done = subprocess.run(command, cwd=where, text=True, capture_output=True, **options)
    if done.returncode:
        sys.exit(f"{' '.join(command)}, in {where}:\n{done.stderr}")
    return done.stdout


class Scratch:
    """A crate with one binary for each program."""

    def __init__(self, repo: pathlib.Path, counts: list[int]):
        described = checked(["cargo", "metadata", "--format-version", "1", "--no-deps"], repo)
        self.folder = pathlib.Path(json.loads(described)["target_directory"]) / "compile-time"
        self.environment = os.environ | {"CARGO_TARGET_DIR": str(self.folder / "target"), "CARGO_INCREMENTAL": "0"}
        sources = self.folder / "src/bin"
        shutil.rmtree(sources, ignore_errors=True)
        sources.mkdir(parents=True)
        (self.folder / "Cargo.toml").write_text(MANIFEST.format(repo=repo))
        (sources / "nothing.rs").write_text("fn main() {}\n")
        for name in PROGRAMS:
            for count in counts:
                self.source(f"{name}_{count}").write_text(program(name, count))

        shutil.copy(repo / "Cargo.lock", self.folder)
        checked(["cargo", "metadata", "--format-version", "1"], self.folder, env=self.environment)
        if new := locked(self.folder) - locked(repo) - {("compile-time", "0.0.0")}:
            sys.exit(f"not in the repository's Cargo.lock: {sorted(new)}")

    def source(self, binary: str) -> pathlib.Path:
        return self.folder / f"src/bin/{binary}.rs"

    def build(self, binary: str, profile: str) -> list[str]:
        """Returns the names of the targets that were compiled."""
        options = ["--release"] if profile == "release" else []
        command = ["cargo", "build", "--message-format", "json", "--bin", binary, *options]
        messages = map(json.loads, checked(command, self.folder, env=self.environment).splitlines())
        built = [message for message in messages if message["reason"] == "compiler-artifact" and not message["fresh"]]
        return [message["target"]["name"] for message in built]

    def seconds(self, binary: str, profile: str) -> float:
        """Returns the processor time of compiling only this binary."""
        os.utime(self.source(binary))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        built = self.build(binary, profile)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if built != [binary]:
            sys.exit(f"{binary} should have been compiled alone, not {built}")
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    def lines(self, binary: str) -> dict[str, tuple[int, int]]:
        """Returns the lines of LLVM IR and the copies of each function. Those that differ only in the job type count as one."""
        command = ["cargo", "llvm-lines", "--release", "--bin", binary]
        found: dict[str, tuple[int, int]] = collections.defaultdict(lambda: (0, 0))
        for row in checked(command, self.folder, env=self.environment).splitlines():
            parts = re.match(r" *(\d+) (?:\([^)]*\))? +(\d+) (?:\([^)]*\))? +(.+)", row)
            if parts and parts[3] != "(TOTAL)":
                function = re.sub(rf"\b{binary}(?:\[\w+\])?::", "", parts[3])
                function = re.sub(r"\b(Mail|handler)\d+\b", r"\1N", function)
                # The only function that is listed with its type parameters.
                function = re.sub(r"(::drop_in_place)<.*", r"\1<T>", function)
                lines, copies = found[function]
                found[function] = (lines + int(parts[1]), copies + int(parts[2]))
        return found


def locked(folder: pathlib.Path) -> set[tuple[str, str]]:
    return set(re.findall(r'^name = "(.+)"\nversion = "(.+)"$', (folder / "Cargo.lock").read_text(), re.MULTILINE))


def measure(scratch: Scratch, counts: list[int], rounds: int, profile: str) -> tuple[list[str], float]:
    """Returns the rows of a profile, and how much more a job type costs than a spawned task."""
    scratch.build("nothing", profile)
    times = collections.defaultdict(list)
    for _ in range(rounds):
        for count in counts:
            for name in PROGRAMS:
                seconds = scratch.seconds(f"{name}_{count}", profile)
                times[name, count].append(seconds)
                print(f"{profile}, {name}, {count} types: {seconds:.2f} s", file=sys.stderr)

    few, many = counts
    rows, of_a_type = [], {}
    for name in PROGRAMS:
        medians = {count: statistics.median(times[name, count]) for count in counts}
        of_a_type[name] = (medians[many] - medians[few]) / (many - few)
        cells = "".join(
            f"{f'{medians[count]:.2f} ({min(times[name, count]):.2f}–{max(times[name, count]):.2f})':>24}" for count in counts
        )
        rows.append(f"{profile:9}{name:12}{cells}{of_a_type[name]:>12.4f}")
    difference = of_a_type["deferred"] - of_a_type["spawned"]
    rows.append(f"{profile:9}{'difference':12}{'':48}{difference:>12.4f}")
    return rows, difference


def report_times(scratch: Scratch, options: argparse.Namespace) -> int:
    profiles = ["debug", "release"] if options.profile == "both" else [options.profile]
    heads = "".join(f"{f'{count} types':>24}" for count in options.counts)
    table = [f"{'profile':9}{'program':12}{heads}{'a type':>12}"]
    above = []
    for profile in profiles:
        rows, difference = measure(scratch, options.counts, options.rounds, profile)
        table += rows
        if difference > LIMITS[profile]:
            above.append(f"{profile}: a job type costs {difference:.3f} s more than a spawned task; limit {LIMITS[profile]:.2f} s")
    print(f"Seconds of processor time, median of {options.rounds} (least–greatest):\n")
    print("\n".join(table))
    if options.check:
        print("\n" + "\n".join(above or ["Within the limits."]))
    return 1 if options.check and above else 0


def report_lines(scratch: Scratch) -> int:
    few, many = COUNTS_OF_LINES
    of_a_type = {}
    for name in PROGRAMS:
        measured = {count: scratch.lines(f"{name}_{count}") for count in COUNTS_OF_LINES}
        of_a_type[name] = {
            function: [(to - from_) / (many - few) for to, from_ in zip(measured[many][function], measured[few][function])]
            for function in list(measured[many] | measured[few])
        }
        total = [sum(figures) for figures in zip(*of_a_type[name].values())]
        print(f"{name}: {total[0]:.0f} lines of LLVM IR a type, in {total[1]:.1f} functions")

    deferred, spawned = (of_a_type[name] for name in PROGRAMS)
    print(f"\nDeferred, the {TOP} largest by lines a type:\n\n{'lines':>8}{'copies':>8}{'spawned':>9}  function")
    for function in sorted(deferred, key=lambda function: -deferred[function][0])[:TOP]:
        in_spawned = spawned.get(function, (0, 0))[0]
        print(f"{deferred[function][0]:>8.1f}{deferred[function][1]:>8.1f}{in_spawned:>9.1f}  {function}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", nargs=2, type=int, default=[20, 100], metavar=("FEW", "MANY"), help="types (20 100)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="how often each program is compiled (3)")
    parser.add_argument("--profile", choices=["debug", "release", "both"], default="both")
    parser.add_argument("--repo", type=pathlib.Path, default=ROOT, metavar="PATH", help="another checkout to measure")
    parser.add_argument("--check", action="store_true", help="fail above the limits")
    parser.add_argument("--lines", action="store_true", help="count lines instead, by cargo-llvm-lines")
    options = parser.parse_args()
    if not 0 < options.counts[0] < options.counts[1]:
        parser.error("--counts: few, then many")
    if options.rounds < 1:
        parser.error("--rounds: at least one")
    if options.lines and options.check:
        parser.error("--check has limits for times, not for lines")
    if options.lines and not shutil.which("cargo-llvm-lines"):
        sys.exit("--lines needs `cargo install cargo-llvm-lines`")

    scratch = Scratch(options.repo.resolve(), COUNTS_OF_LINES if options.lines else options.counts)
    print(checked(["rustc", "--version"], scratch.folder).strip())
    return report_lines(scratch) if options.lines else report_times(scratch, options)


if __name__ == "__main__":
    sys.exit(main())
