"""Headless Chromium, driven by chromedriver. It must be in PATH, or set CHROMEDRIVER to its path."""

import json
import os
import re
import subprocess
import threading
import time
import urllib.request

ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars",
]


def start(stack, *command, **options):
    """Starts a program that ends with the stack."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return process


def first_line(process, pattern):
    """Returns the address that a program prints."""
    for line in process.stdout:
        if found := re.search(pattern, line):
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return found[1]
    raise SystemExit(f"{process.args[0]} ended without saying where it listens")


def eventually(what, ask):
    """Polls until there is an answer. Only a failing run waits a minute."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if answer := ask():
            return answer
        # Polled: a page does not notify anyone of a change.
        time.sleep(0.05)
    raise SystemExit(f"waited in vain for {what}")


class Driver:
    def __init__(self, stack):
        for left in reversed(range(5)):
            driver = start(stack, os.environ.get("CHROMEDRIVER", "chromedriver"), "--port=0")
            try:
                self.url = "http://127.0.0.1:" + first_line(driver, r"started successfully on port (\d+)")
                break
            except SystemExit:
                # Among many servers, the port that it picks can be taken meanwhile.
                if not left:
                    raise

    def browser(self, stack):
        """Returns a browser with an empty profile, which ends with the stack."""
        options = {"goog:chromeOptions": {"args": ARGUMENTS}}
        session = ask(f"{self.url}/session", {"capabilities": {"alwaysMatch": options}})["sessionId"]
        browser = Browser(f"{self.url}/session/{session}")
        stack.callback(browser.end)
        return browser


class Browser:
    def __init__(self, session):
        self.session = session

    def open(self, url):
        ask(f"{self.session}/url", {"url": url})

    def run(self, script):
        return ask(f"{self.session}/execute/sync", {"script": script, "args": []})

    def devtools(self, command, **parameters):
        return ask(f"{self.session}/goog/cdp/execute", {"cmd": command, "params": parameters})

    def end(self):
        urllib.request.urlopen(urllib.request.Request(self.session, method="DELETE")).close()


def ask(url, body):
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode())) as answer:
        return json.load(answer)["value"]
