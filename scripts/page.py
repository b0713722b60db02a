#!/usr/bin/env python3
"""Checks the dashboard in the states that an operator meets: takes pictures, and runs axe to find accessibility problems.

    scripts/page.py PROGRAM AXE [FOLDER]

PROGRAM is `defer-soak`, and AXE is `axe.min.js` of axe-core. Pictures are only taken if there is a FOLDER for them. Fails if axe finds
anything, if a section is wider than the page, or if a hostile name ran. Needs chromium and chromedriver.
"""

import base64
import contextlib
import pathlib
import subprocess
import sys
import time

from webdriver import Driver, eventually, start

SCENES = ["empty", "busy", "failing", "down", "types", "hostile"]
WIDTHS = [390, 900, 1440]
AXE = """
    // Targets of 24 px are not among what it looks for by itself.
    const options = {resultTypes: ["violations"], rules: {"target-size": {enabled: true}}};
    return axe.run(document, options).then(({violations}) =>
        violations.map(({id, help, nodes}) => `${id}: ${help}: ${nodes.map((node) => node.html).join(" | ").slice(0, 400)}`));
"""
TOO_WIDE = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
# A page that shows a confirmation is never live.
READY = """
    const live = document.getElementById("live");
    return !live || live.dataset.state === "on";
"""


def look(browser, url, scene, folder, axe, wrong):
    browser.open(url)
    eventually("the page to be live", lambda: browser.run(READY))
    for width in WIDTHS:
        # Colors do not depend on the width.
        for scheme in ("light", "dark") if folder or width == WIDTHS[-1] else ("light",):
            browser.devtools(
                "Emulation.setDeviceMetricsOverride", width=width, height=1000, deviceScaleFactor=1, mobile=False
            )
            browser.devtools(
                "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
            )
            where = f"{scene}, {width} px, {scheme}"
            if (beyond := browser.run(TOO_WIDE)) > 0:
                wrong.append(f"{where}: {beyond} px too wide")
            browser.run(axe)
            wrong.extend(f"{where}: {found}" for found in browser.run(AXE))
            if folder:
                picture = browser.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=True)
                (folder / f"{scene}-{width}-{scheme}.png").write_bytes(base64.b64decode(picture["data"]))
    if browser.run("return document.querySelectorAll('main script, main img').length"):
        wrong.append(f"{scene}: a name became markup")


def main():
    program, axe = sys.argv[1], pathlib.Path(sys.argv[2]).read_text()
    folder = pathlib.Path(sys.argv[3]) if len(sys.argv) > 3 else None
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    wrong = []
    with contextlib.ExitStack() as stack:
        driver = Driver(stack)
        for scene in SCENES:
            with contextlib.ExitStack() as of_scene:
                served = start(of_scene, program, "scene", scene, stdin=subprocess.PIPE)
                url = served.stdout.readline().split()[-1]
                browser = driver.browser(of_scene)
                # A scene fills up over time and never completes. A picture should show more of it.
                time.sleep(12 if folder else 1)
                look(browser, url, scene, folder, axe, wrong)
                if scene == "failing":
                    job = browser.run('return document.querySelector("#failures a[href*=find]").href')
                    look(browser, job, "job", folder, axe, wrong)
                    look(browser, f"{url}?do=pause&name=ChargeCard", "question", folder, axe, wrong)
    if wrong:
        raise SystemExit("\n".join(wrong))
    print(f"{len(SCENES)} scenes at {len(WIDTHS)} widths, light and dark: axe finds nothing, and nothing is too wide")


main()
