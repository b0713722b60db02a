#!/usr/bin/env python3
"""Takes pictures of the sign-up service's dashboard, after a minute of sign-ups.

    scripts/picture.py FOLDER [SECONDS]

The mail server is fake: it accepts most mails, delays some, and rejects some. Needs cargo, chromium and chromedriver.
"""

import base64
import contextlib
import itertools
import json
import os
import pathlib
import random
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

from webdriver import Driver, first_line, start

SIZES = {"wide": (1200, 1000), "narrow": (390, 1600)}
NUMBERS = itertools.count(1)


class Mail(socketserver.StreamRequestHandler):
    def handle(self):
        self.say("220 mail.example")
        for line in self.rfile:
            verb = line[:4].upper()
            if verb == b"RCPT":
                if b"slow" in line:
                    time.sleep(20)
                self.say(
                    "550 5.1.1 mailbox unavailable" if b"nobody" in line
                    else "451 4.7.1 greylisted, try again later" if random.random() < 0.04
                    else "250 ok"
                )
            elif verb == b"DATA":
                self.say("354 go on")
                while self.rfile.readline().rstrip() != b".":
                    pass
                time.sleep(random.uniform(0.01, 0.2))
                self.say("250 taken")
            else:
                self.say("250 ok")
                if verb == b"QUIT":
                    return

    def say(self, answer):
        self.wfile.write(f"{answer}\r\n".encode())


class MailServer(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A client may disconnect at any time."""


def sign_ups(url, stop):
    while not stop.is_set():
        number = next(NUMBERS)
        kind = "nobody" if number % 61 == 0 else "slow" if number % 97 == 0 else "ada"
        form = urllib.parse.urlencode({"name": "Ada", "email": f"{kind}{number}@example.com"}).encode()
        urllib.request.urlopen(urllib.request.Request(f"{url}/signup", form, {"accept": "application/json"})).close()
        time.sleep(random.expovariate(12))


def take(driver, url, size, scheme, path):
    width, height = size
    with contextlib.ExitStack() as stack:
        browser = driver.browser(stack)
        browser.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        browser.devtools(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
        )
        browser.open(url)
        while not browser.run('return document.getElementById("live").dataset.state === "on"'):
            time.sleep(0.1)
        path.write_bytes(base64.b64decode(browser.devtools("Page.captureScreenshot", format="png")["data"]))
    print(path)


def main():
    folder = pathlib.Path(sys.argv[1]).resolve()
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 60
    folder.mkdir(parents=True, exist_ok=True)
    root = pathlib.Path(__file__).resolve().parent.parent
    subprocess.run(["cargo", "build", "--quiet", "-p", "signup"], cwd=root, check=True)
    metadata = subprocess.check_output(["cargo", "metadata", "--format-version=1", "--no-deps"], cwd=root)
    program = pathlib.Path(json.loads(metadata)["target_directory"]) / "debug" / "signup"
    mail = MailServer(("127.0.0.1", 0), Mail)
    threading.Thread(target=mail.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as data, contextlib.ExitStack() as stack:
        variables = {"PORT": "0", "SMTP_URL": f"smtp://127.0.0.1:{mail.server_address[1]}", "RUST_LOG": "off"}
        service = start(stack, program, cwd=data, env=os.environ | variables)
        url = first_line(service, r"listening on (\S+)")
        driver = Driver(stack)
        stop = threading.Event()
        visitors = threading.Thread(target=sign_ups, args=(url, stop))
        visitors.start()
        stack.callback(visitors.join)
        stack.callback(stop.set)
        time.sleep(seconds)
        for name, size in SIZES.items():
            for scheme in ("light", "dark"):
                take(driver, f"{url}/jobs", size, scheme, folder / f"jobs-{name}-{scheme}.png")


main()
