"""Plots requests per second against the length of the job: `plot.py CSV SVG`. Both axes are logarithmic."""

import math
import sys
from html import escape

from throughput import NAMES, Throughput

WIDTH, HEIGHT = 880, 500
LEFT, RIGHT, TOP, BOTTOM = 70, 620, 70, 440
# A logarithm has no 0, so that length stands apart, left of the others.
BREAK = 90
LABEL_GAP = 17

COLOURS = {
    "axum-defer": "#c2410c",
    "axum-spawn": "#0369a1",
    "axum-inline": "#64748b",
    "node": "#15803d",
    "fastapi": "#be185d",
    "php": "#6d28d9",
}


class Scale:
    """Maps logarithms of values to pixels."""

    def __init__(self, low, high, start, end):
        self.low, self.start = math.log10(low), start
        self.unit = (end - start) / (math.log10(high) - self.low)

    def __call__(self, value):
        return self.start + (math.log10(value) - self.low) * self.unit


class Plot:
    def __init__(self, throughput):
        self.throughput = throughput
        jobs = throughput.jobs
        positive = [job for job in jobs if job > 0]
        start = LEFT + 20 + (BREAK if 0 in jobs else 0)
        # A single length has no scale, so any will do.
        self.along = Scale(positive[0], max(positive[-1], positive[0] * 2), start, RIGHT)
        rates = [self.rate(peer, job) for peer in throughput.peers for job in jobs]
        self.decades = range(math.floor(math.log10(min(rates))), math.ceil(math.log10(max(rates))) + 1)
        self.y = Scale(10.0 ** self.decades[0], 10.0 ** self.decades[-1], BOTTOM, TOP)
        self.out = []

    def rate(self, peer, job):
        return max(self.throughput.median(peer, job, "requests_per_second"), 1)

    def x(self, job):
        return self.along(job) if job > 0 else LEFT + 20

    def add(self, element, content=None, **attributes):
        written = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
        self.out.append(f"<{element}{written}/>" if content is None else f"<{element}{written}>{content}</{element}>")

    def text(self, x, y, words, **attributes):
        self.add("text", escape(words), x=f"{x:.1f}", y=f"{y:.1f}", **attributes)

    def line(self, x1, y1, x2, y2, **attributes):
        ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
        self.add("line", **{name: f"{value:.1f}" for name, value in ends.items()}, **attributes)

    def axes(self):
        for decade in self.decades:
            y = self.y(10.0**decade)
            self.line(LEFT, y, RIGHT + 10, y, stroke="#e2e8f0")
            self.text(LEFT - 8, y + 4, f"{10**decade:,}", text_anchor="end", fill="#475569")
        for job in self.throughput.jobs:
            self.line(self.x(job), BOTTOM, self.x(job), BOTTOM + 5, stroke="#475569")
            self.text(self.x(job), BOTTOM + 20, str(job), text_anchor="middle", fill="#475569")
        self.line(LEFT, BOTTOM, RIGHT + 10, BOTTOM, stroke="#475569")
        if 0 in self.throughput.jobs:
            middle = LEFT + 20 + BREAK / 2
            self.line(middle - 4, BOTTOM, middle + 4, BOTTOM, stroke="white", stroke_width=3)
            for side in (-4, 4):
                self.line(middle + side - 3, BOTTOM + 6, middle + side + 3, BOTTOM - 6, stroke="#475569")
        self.text((LEFT + RIGHT) / 2, BOTTOM + 44, "length of the job, ms", text_anchor="middle", fill="#475569")

    def curves(self):
        # The first peer matters most, so it is drawn on top of the others.
        for peer in reversed(self.throughput.peers):
            points = [(self.x(job), self.y(self.rate(peer, job))) for job in self.throughput.jobs]
            stroke = {"stroke": COLOURS[peer], "stroke_width": 3 if peer == "axum-defer" else 1.8}
            solid = points
            if self.throughput.jobs[0] == 0 and len(points) > 1:
                self.line(*points[0], *points[1], stroke_dasharray="2 4", **stroke)
                solid = points[1:]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in solid)
            self.add("polyline", points=path, fill="none", stroke_linejoin="round", **stroke)
            for x, y in points:
                radius = 4 if peer == "axum-defer" else 3
                self.add("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=radius, fill=COLOURS[peer])

    def labels(self):
        last = self.throughput.jobs[-1]
        wanted = sorted((self.y(self.rate(peer, last)), index) for index, peer in enumerate(self.throughput.peers))
        for y, (end, index) in zip(spread([y for y, _ in wanted]), wanted):
            peer = self.throughput.peers[index]
            self.line(RIGHT + 7, end, RIGHT + 22, y, stroke=COLOURS[peer], stroke_width=0.8)
            weight = {"font_weight": "bold"} if peer == "axum-defer" else {}
            words = f"{NAMES[peer]}: {self.rate(peer, last):,.0f}"
            self.text(RIGHT + 26, y + 4, words, fill=COLOURS[peer], **weight)

    def draw(self):
        self.text(LEFT, 28, "Requests per second while a job follows each response", font_size=17, font_weight="bold")
        rounds = self.throughput.rounds
        subtitle = f"wrk -t 1 -c 32, {'medians of ' + str(rounds) + ' rounds' if rounds > 1 else 'one round'}"
        self.text(LEFT, 48, f"{subtitle}; at the right, the rates with the longest job", fill="#475569")
        self.axes()
        self.curves()
        self.labels()
        body = "\n".join(self.out)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
            ' font-family="system-ui, sans-serif" font-size="13" fill="#0f172a" role="img">\n'
            "<title>Requests per second against the length of the job that follows each response</title>\n"
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n{body}\n</svg>\n'
        )


def spread(heights):
    """Moves labels apart, given the heights they want in ascending order. Centers each overlapping group on its mean."""
    groups = []
    for height in heights:
        groups.append([height])
        while len(groups) > 1:
            above, below = groups[-2:]
            reach = LABEL_GAP * (len(above) + len(below)) / 2
            if sum(below) / len(below) - sum(above) / len(above) >= reach:
                break
            groups[-2:] = [above + below]
    placed = []
    for group in groups:
        top = sum(group) / len(group) - LABEL_GAP * (len(group) - 1) / 2
        placed.extend(top + LABEL_GAP * index for index in range(len(group)))
    return placed


def main():
    source, target = sys.argv[1:]
    svg = Plot(Throughput(source)).draw()
    with open(target, "w", encoding="utf-8") as file:
        file.write(svg)


if __name__ == "__main__":
    main()
