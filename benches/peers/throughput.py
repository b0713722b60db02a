"""Reads throughput.csv, the figures of all runs."""

import csv
import statistics

NAMES = {
    "axum-defer": "axum, defer",
    "axum-spawn": "axum, tokio::spawn",
    "axum-inline": "axum, awaited",
    "node": "Node, setTimeout",
    "fastapi": "FastAPI, BackgroundTasks",
    "php": "nginx + php-fpm, 5 children",
}


class Throughput:
    def __init__(self, path):
        with open(path, newline="") as file:
            self.rows = list(csv.DictReader(file))
        peers = {row["peer"] for row in self.rows}
        self.peers = [peer for peer in NAMES if peer in peers]
        self.jobs = sorted({int(row["job_ms"]) for row in self.rows})
        self.rounds = max(int(row["round"]) for row in self.rows)
        self.errors = sum(int(row["errors"]) for row in self.rows)

    def values(self, peer, job, figure):
        """Returns one per round."""
        rows = [row for row in self.rows if (row["peer"], row["job_ms"]) == (peer, str(job))]
        rows.sort(key=lambda row: int(row["round"]))
        return [float(row[figure]) for row in rows]

    def median(self, peer, job, figure):
        return statistics.median(self.values(peer, job, figure))
