#!/usr/bin/env python3
"""Measures the processor time that a server takes for each request whose job is deferred, compared with one whose job is spawned.

    benches/processor_time.py [--check] [ROUNDS]

Runs `served` in pairs under wrk (one thread, 32 connections), and prints the medians and the spread of the pairs' ratios. Processor
time varies far less than rates do on a machine that does other work. With `--check`, it fails if a median exceeds its limit, which
leaves room for what still varies. Needs cargo and wrk.
"""

import contextlib
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys

# How long the jobs are, and the ratio that fails the check.
LIMITS = {"trivial": 1.5, "sleep-5": 1.6, "sleep-50": 1.6}
SECONDS = 2
ROUNDS = 9
# The check is to be short.
CHECK_SECONDS = 1
CHECK_ROUNDS = 5
WAYS = ["spawn", "defer"]


def program():
    """Builds the server, and returns its path."""
    subprocess.run(
        ["cargo", "build", "--quiet", "--release", "-p", "defer-benches", "--features", "served", "--bin", "served"], check=True
    )
    metadata = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--no-deps"], check=True, capture_output=True, text=True
    )
    return pathlib.Path(json.loads(metadata.stdout)["target_directory"]) / "release" / "served"


def processor_seconds(process):
    """Returns the seconds of processor time that a process has used, in itself and in the kernel."""
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(url, seconds):
    """Sends requests for so long. Returns how many were answered."""
    out = subprocess.run(
        ["wrk", "-t1", "-c32", f"-d{seconds}s", url], check=True, capture_output=True, text=True
    ).stdout
    # A request that was late on a busy machine has not failed.
    if "Non-2xx" in out or re.search(r"(connect|read|write) [1-9]", out):
        sys.exit(f"requests failed:\n{out}")
    return int(re.search(r"(\d+) requests in", out)[1])


def microseconds(served, way, job, seconds=SECONDS):
    """Returns the processor time of a request."""
    with contextlib.ExitStack() as stack:
        server = subprocess.Popen([served, f"{way}:{job}"], stdout=subprocess.PIPE, text=True)
        # Killed: a drain would wait for jobs that nobody needs any more.
        stack.callback(server.wait)
        stack.callback(server.kill)
        listening = re.search(r"http://\S+", server.stdout.readline())
        if not listening:
            sys.exit(f"{served} did not start")
        url = listening[0]
        before = processor_seconds(server)
        requests = load(url, seconds)
        return (processor_seconds(server) - before) * 1e6 / requests


def measure(served, job, seconds, rounds):
    """Prints the processor times of both ways, and returns the median of their ratios."""
    times = {way: [] for way in WAYS}
    for number in range(rounds):
        # The order alternates, so that a drift of the machine's speed favors neither.
        for way in WAYS if number % 2 else reversed(WAYS):
            times[way].append(microseconds(served, way, job, seconds))
    ratios = [deferred / spawned for spawned, deferred in zip(times["spawn"], times["defer"])]
    median = statistics.median(ratios)
    spawned, deferred = (statistics.median(times[way]) for way in WAYS)
    print(f"| {job} | {spawned:.1f} | {deferred:.1f} | {median:.2f} ({min(ratios):.2f}–{max(ratios):.2f}) |", flush=True)
    return median


def main(arguments):
    check = "--check" in arguments
    seconds, rounds = (CHECK_SECONDS, CHECK_ROUNDS) if check else (SECONDS, ROUNDS)
    rounds = next((int(argument) for argument in arguments if argument.isdigit()), rounds)
    served = program()
    print("| a request with a job | spawned, µs | deferred, µs | deferred over spawned |")
    print("|---|--:|--:|--:|")
    wrong = []
    for job, limit in LIMITS.items():
        median = measure(served, job, seconds, rounds)
        if check and median > limit:
            # Something else may have run during a few short rounds. What costs too much does so again.
            median = measure(served, job, SECONDS, ROUNDS)
        if median > limit:
            wrong.append(f"{job}: {median:.2f} times the processor time of a spawned job, and the limit is {limit}")
    if check and wrong:
        sys.exit("\n".join(wrong))


main(sys.argv[1:])
