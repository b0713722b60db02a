#!/usr/bin/env python3
"""Opens the dashboard in a browser while a hundred thousand jobs a second run for ten seconds.

    scripts/soak_page.py PROGRAM [SECONDS]

PROGRAM is `defer-soak`. Needs chromium and chromedriver.
"""

import contextlib
import subprocess
import sys
import time

from webdriver import Driver, eventually

DEFERRED = """
    const dd = document.querySelector("#now .totals dd");
    return dd ? Number(dd.textContent.replace(/\\D/g, "")) : 0;
"""
# Records the longest delay of a timer, which is how long the page's thread was blocked, and counts changes of the figures.
MEASURE = """
    window.late = 0;
    let last = performance.now();
    setInterval(() => {
        const now = performance.now();
        window.late = Math.max(window.late, now - last - 10);
        last = now;
    }, 10);
    window.changes = 0;
    new MutationObserver(() => window.changes++).observe(document.getElementById("now"), {subtree: true, characterData: true});
"""


def main():
    program, seconds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 10
    with contextlib.ExitStack() as stack:
        soak = subprocess.Popen(
            [program, "page", str(seconds)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        stack.callback(soak.kill)
        url = soak.stdout.readline().split()[-1]
        browser = Driver(stack).browser(stack)
        browser.open(url)
        live = 'return document.getElementById("live").dataset.state === "on"'
        eventually("the page to be live", lambda: browser.run(live))
        browser.run(MEASURE)
        soak.stdin.write("go\n")
        soak.stdin.flush()
        eventually("jobs on the page", lambda: browser.run(DEFERRED) > 0)
        clicked = time.monotonic()
        browser.run('document.querySelector("#runs nav a[href*=failed]").click()')
        shown = 'return document.querySelector("#runs nav a[aria-current]").textContent === "Failed"'
        eventually("the failed runs", lambda: browser.run(shown))
        answered = time.monotonic() - clicked
        said = soak.stdout.readline(), soak.stdout.readline()
        print(*said, sep="", end="")
        expected = int(said[0].split()[0])
        eventually(f"{expected} jobs on the page", lambda: browser.run(DEFERRED) == expected)
        late, changes = browser.run("return window.late"), browser.run("return window.changes")
        if browser.run('return document.querySelectorAll("#runs li.good").length'):
            raise SystemExit("the page shows runs that it was not asked for")
        print(
            f"in the browser: a click on a filter took {answered * 1000:.0f} ms, the page's thread was busy for at most "
            f"{late:.0f} ms at a time, and its figures changed {changes} times"
        )
        soak.stdin.close()
        if soak.wait() != 0 or not said[1]:
            raise SystemExit("the soak failed")


main()
