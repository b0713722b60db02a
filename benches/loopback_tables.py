"""Prints the tables of loopback.sh: `loopback_tables.py CSV`."""

import csv
import statistics
import sys

NAMES = {
    "inline:none": "`axum::serve`",
    "defer:none": "`defer_axum::serve` + `DeferLayer`",
    "spawn:trivial": "`tokio::spawn`",
    "tracker:trivial": "`TaskTracker::spawn`",
    "defer-under-axum:trivial": "`defer` under `axum::serve`",
    "defer:trivial": "`defer`",
}


class Runs:
    def __init__(self, path):
        with open(path, newline="") as file:
            self.rows = list(csv.DictReader(file))

    def loads(self, table):
        """Returns them in the order in which they were driven."""
        return list(dict.fromkeys(row["load"] for row in self.rows if row["table"] == table))

    def values(self, table, load, variant, figure):
        """Returns one per round."""
        key = (table, load, variant)
        rows = [row for row in self.rows if (row["table"], row["load"], row["variant"]) == key]
        rows.sort(key=lambda row: int(row["round"]))
        return [float(row[figure]) for row in rows]

    def median(self, *key):
        return statistics.median(self.values(*key))

    def ratio(self, table, load, variant, base, figure):
        """The median of the rounds' ratios, with the least and the greatest: a pair ran one after the other, so
        what slowed one run most likely slowed the other too."""
        pairs = zip(self.values(table, load, variant, figure), self.values(table, load, base, figure))
        ratios = [value / compared for value, compared in pairs]
        return f"{statistics.median(ratios):.3f} ({min(ratios):.3f}–{max(ratios):.3f})"


def header(columns):
    print(f"| {' | '.join(columns)} |")
    print(f"|---|{'--:|' * (len(columns) - 1)}")


def latencies(runs, table, job, explanation):
    """Prints a row for each load, if there is any: the same requests with the job spawned and with it deferred."""
    if not runs.loads(table):
        return
    spawn, defer = f"spawn:{job}", f"defer:{job}"
    print(f"\n{explanation}\n")
    header(
        ["connections", "requests/s, spawn", "defer", "p50 ms, spawn", "defer", "ratio"]
        + ["p99 ms, spawn", "defer", "ratio"]
    )
    for load in runs.loads(table):
        cells = [load]
        for variant in (spawn, defer):
            cells.append(f"{runs.median(table, load, variant, 'requests_per_second'):,.0f}")
        for figure in ("p50_us", "p99_us"):
            for variant in (spawn, defer):
                cells.append(f"{runs.median(table, load, variant, figure) / 1000:.2f}")
            cells.append(runs.ratio(table, load, defer, spawn, figure))
        print(f"| {' | '.join(cells)} |")


def rates(runs, table, variant, bases):
    """Prints a row for each load and compared variant: requests per second of both, and their ratio."""
    for load in runs.loads(table):
        for base in bases:
            compared = runs.median(table, load, base, "requests_per_second")
            measured = runs.median(table, load, variant, "requests_per_second")
            ratio = runs.ratio(table, load, variant, base, "requests_per_second")
            print(f"| {load} | {NAMES[base]} | {compared:,.0f} | {NAMES[variant]} | {measured:,.0f} | {ratio} |")


def main():
    runs = Runs(sys.argv[1])
    rounds = max(int(row["round"]) for row in runs.rows)
    print(
        f"\nRounds: {rounds}. Figures are their medians; a ratio is the median of the rounds' ratios"
        " (least–greatest)."
    )

    columns = ["load", "compared", "requests/s", "measured", "requests/s", "ratio"]
    if runs.loads("none"):
        print("\n### No job\n\nHTTP/1: wrk, 32 connections. HTTP/2: h2load, 4 connections with 32 streams each.\n")
        header(columns)
        rates(runs, "none", "defer:none", ["inline:none"])

    if runs.loads("trivial"):
        print("\n### One trivial job for each request\n\nwrk, 32 connections.\n")
        header(columns)
        rates(runs, "trivial", "defer:trivial", ["spawn:trivial", "tracker:trivial", "defer-under-axum:trivial"])
        rates(runs, "trivial", "defer-under-axum:trivial", ["spawn:trivial"])

    if any(runs.loads(table) for table in ("apart", "timer", "shared")):
        with_processor_time(runs)

    errors = sum(int(row["errors"]) for row in runs.rows)
    print(f"\nRequests that failed: {errors}.")


def with_processor_time(runs):
    print("\n### A job of 2 ms of processor time, and a handler that then waits 1 ms")
    print(
        "\nwrk. Thinking: each connection waits 20 ms on average before each request, which leaves processor time free."
        "\nAt once: each sends its next request as soon as it has its answer, so the next request may pay for what a"
        "\ndeferred job takes off its own response."
    )
    latencies(runs, "apart", "cpu", "wrk on the last core, the server on the others: as if they were two machines.")
    latencies(runs, "timer", "cpu-timer", "The same, except that the handler waits on Tokio's timer, which makes the wait about 2 ms.")
    latencies(
        runs,
        "shared",
        "cpu",
        "wrk and the server on all cores: the client may then have to wait for the job that follows its response.",
    )


if __name__ == "__main__":
    main()
