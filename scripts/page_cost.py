#!/usr/bin/env python3
"""Measures what the dashboard costs its server: the processor time of a scene without a viewer and with one open page, and
what that page receives.

    scripts/page_cost.py PROGRAM SCENE..

PROGRAM is `defer-soak`.
"""

import contextlib
import gzip
import os
import pathlib
import subprocess
import sys
import time
import urllib.request

from webdriver import start

SECONDS = 12


def processor_time(process):
    """Returns the processor time of a process in milliseconds."""
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def during(process, look):
    before = processor_time(process)
    look()
    return (processor_time(process) - before) / SECONDS


def measure(program, scene):
    with contextlib.ExitStack() as stack:
        served = start(stack, program, "scene", scene, stdin=subprocess.PIPE)
        url = served.stdout.readline().split()[-1]
        # The start costs more than what follows.
        time.sleep(5)
        # Measures over a fixed time.
        unwatched = during(served, lambda: time.sleep(SECONDS))
        received = bytearray()

        def look():
            end = time.monotonic() + SECONDS
            with urllib.request.urlopen(f"{url}/events") as changes:
                while time.monotonic() < end:
                    received.extend(changes.read1(1 << 20))

        watched = during(served, look)
        first, *rest = bytes(received).split(b"\n")
        rest = b"\n".join(rest)
        print(
            f"{scene}: {unwatched:.1f} ms of processor time a second, {watched:.1f} with an open page, which receives "
            f"{len(first) / 1000:.0f} kB and then {len(rest) / SECONDS / 1000:.1f} kB a second, "
            f"{len(gzip.compress(rest)) / SECONDS / 1000:.1f} compressed"
        )


for name in sys.argv[2:]:
    measure(sys.argv[1], name)
