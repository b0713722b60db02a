"""Prints the tables of run.sh: `tables.py CSV`."""

import statistics
import sys

from throughput import NAMES, Throughput

# The length of job at which the peers are compared.
COMPARED = 50


def by_job(title, throughput, cell):
    print(f"\n### {title}\n")
    print(f"| | {' | '.join(f'{job} ms' for job in throughput.jobs)} |")
    print(f"|---|{'--:|' * len(throughput.jobs)}")
    for peer in throughput.peers:
        cells = [cell(peer, job) for job in throughput.jobs]
        print(f"| {NAMES[peer]} | {' | '.join(cells)} |")


def ratios(throughput):
    print(f"\n### With jobs of {COMPARED} ms\n")
    print("| | requests/s | p50 ms | axum with defer answers this many times as many |")
    print("|---|--:|--:|--:|")
    defer = throughput.values("axum-defer", COMPARED, "requests_per_second")
    for peer in throughput.peers:
        rate = throughput.median(peer, COMPARED, "requests_per_second")
        p50 = throughput.median(peer, COMPARED, "p50_us") / 1000
        compared = throughput.values(peer, COMPARED, "requests_per_second")
        each = [one / other for one, other in zip(defer, compared)]
        ratio = f"{statistics.median(each):.3g} ({min(each):.3g}–{max(each):.3g})"
        print(f"| {NAMES[peer]} | {rate:,.0f} | {p50:,.2f} | {ratio} |")


def main():
    throughput = Throughput(sys.argv[1])
    print(
        f"\nRounds: {throughput.rounds}, each under `wrk -t 1 -c 32`. Figures are their medians; a ratio is the median"
        "\nof the rounds' ratios (least–greatest)."
    )
    by_job(
        "Requests per second, by the length of the job",
        throughput,
        lambda *key: f"{throughput.median(*key, 'requests_per_second'):,.0f}",
    )
    by_job(
        "p50 in ms, by the length of the job",
        throughput,
        lambda *key: f"{throughput.median(*key, 'p50_us') / 1000:,.2f}",
    )
    if COMPARED in throughput.jobs:
        ratios(throughput)
    print(f"\nRequests that failed: {throughput.errors}.")


if __name__ == "__main__":
    main()
