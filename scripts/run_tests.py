#!/usr/bin/env python3
"""Runs the tests of all crates with all features, like `cargo test`, but several test programs at a time, since most wait.

    scripts/run_tests.py [MESSAGES]

MESSAGES is a file with what cargo printed when it built them: see BUILD. Without it, cargo is run first. Does not run doc tests. Prints
the output of each program when it has ended, with its time, and at the end what failed and why.
"""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import threading
import time

AT_ONCE = 3
# These share a server that one of them pauses, so they take turns: the longest first, and the others last.
SERVERS = "defer-queue-tests"
TURN = threading.Lock()
# These wait longer than others, so they start first.
SLOW = ["defer-queue-tests", "audit", "defer-river", "signup", "defer-macros", "defer-fuzz"]
# trybuild's own flags and the one that it adds the second time, with which it would check all dependencies twice.
UI_FLAGS = ["--cfg", "trybuild", "--verbose", "-A", "dead_code", "--diagnostic-width=140"]
BUILD = ["cargo", "test", "--workspace", "--all-features", "--no-run", "--message-format", "json-render-diagnostics"]


def programs(built: str) -> list[tuple[str, pathlib.Path, str]]:
    messages = [json.loads(line) for line in built.splitlines()]
    tests = [message for message in messages if message.get("executable") and message["profile"]["test"]]
    folders = [pathlib.Path(message["manifest_path"]).parent for message in tests]
    names = json.loads(subprocess.run(["cargo", "metadata", "--no-deps", "--format-version", "1"], check=True, stdout=subprocess.PIPE).stdout)
    names = {str(pathlib.Path(package["manifest_path"]).parent): package["name"] for package in names["packages"]}
    found = [(names[str(folder)], folder, message["executable"]) for message, folder in zip(tests, folders)]
    slow = lambda test: SLOW.index(test[0]) if test[0] in SLOW else len(SLOW)
    waits = lambda test: test[0] == SERVERS and not pathlib.Path(test[2]).name.startswith("queue-")
    return sorted(found, key=lambda test: (waits(test), slow(test)))


def run(package: str, folder: pathlib.Path, program: str, libraries: str) -> str | None:
    """Returns why the program failed."""
    environment = os.environ | {
        "CARGO": "cargo",
        "CARGO_MANIFEST_DIR": str(folder),
        "CARGO_PKG_NAME": package,
        # Set by the compiler for the tests of a procedural macro.
        "LD_LIBRARY_PATH": libraries,
    }
    if pathlib.Path(program).name.startswith("ui-"):
        environment["CARGO_ENCODED_RUSTFLAGS"] = "\x1f".join(UI_FLAGS)
    begun = time.monotonic()
    with TURN if package == SERVERS else contextlib.nullcontext():
        ended = subprocess.run([program], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    took = time.monotonic() - begun
    print(f"\n     Ran {package}: {pathlib.Path(program).name} ({took:.0f} s)", flush=True)
    sys.stdout.buffer.write(ended.stdout)
    sys.stdout.flush()
    if ended.returncode == 0:
        return None
    # libtest prints the output of failed tests after this line, and their names after the next one.
    _, _, said = ended.stdout.decode(errors="replace").partition("\nfailures:\n")
    return f"{package} ({program}), exit code {ended.returncode}\n{said[:4000]}"


def main() -> int:
    libraries = subprocess.run(["rustc", "--print", "target-libdir"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    if len(sys.argv) > 1:
        built = pathlib.Path(sys.argv[1]).read_text()
    else:
        built = subprocess.run(BUILD, check=True, stdout=subprocess.PIPE, text=True).stdout
    tests = programs(built)
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        failed = [why for why in pool.map(lambda test: run(*test, libraries), tests) if why]
    print(f"\n{len(tests)} test programs" + "".join(f"\nFAILED: {why}" for why in failed))
    return 1 if failed or len(tests) < 50 else 0


if __name__ == "__main__":
    sys.exit(main())
