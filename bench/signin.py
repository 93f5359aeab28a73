"""``python -m bench.signin``: from the sign-in page to the first authorized read, in a real browser.

The sample app sends a patient of the demo practice to sign in and to allow it. Whatever a person would do (typing, reading) takes
no time here: what is measured is from the press on "Sign in" until the browser has the first answer that took the token, with the
password check, the consent page, the exchange of the code, and the app's own loading in between. Needs Chromium and Playwright.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from playwright.sync_api import Browser, Response, sync_playwright

from bench import machine
from bench.lab import ROOT, Lab, end
from fhirhub import keys
from fhirhub.settings import Settings
from fhirhub.smart import demo

USER = "demo-patient"
STEPS = ("sign-in page", "consent page", "first read")
"""What has appeared, each timed in seconds from the press on Connect, on Sign in, on Sign in."""


def once(browser: Browser, base: str, password: str) -> dict[str, float]:
    """Seconds of one sign-in in a fresh browser profile."""
    context = browser.new_context(base_url=base)
    page = context.new_page()
    read: list[float] = []

    def answered(response: Response) -> None:
        if (
            "/fhir/" in response.url
            and response.status == 200
            and "authorization" in response.request.headers
        ):
            read.append(time.perf_counter())

    page.on("response", answered)
    page.goto("/sample/")
    pressed = time.perf_counter()
    page.get_by_role("button", name="Connect to the record").click()
    page.get_by_label("Username").fill(USER)
    shown = time.perf_counter()
    page.get_by_label("Password").fill(password)
    began = time.perf_counter()
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Allow").wait_for()
    consent = time.perf_counter()
    page.get_by_role("button", name="Allow").click()
    page.get_by_role("button", name="Read again").wait_for()
    found = dict(zip(STEPS, (shown - pressed, consent - began, read[0] - began), strict=True))
    context.close()
    return found


def main() -> int:
    """Print the medians as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.signin", description=__doc__)
    parser.add_argument("--times", type=int, default=7, help="sign-ins that count; one before them does not")
    parser.add_argument("--scratch", type=Path, help="where the store of the run goes (a short path)")
    chosen = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        parser.error("there is no chromium on this machine")
    lab = Lab(2, "uvicorn", chosen.scratch)
    try:
        found = measured(lab, chromium, chosen.times)
    finally:
        lab.close()
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    return 0


def measured(lab: Lab, chromium: str, times: int) -> dict[str, Any]:
    """Medians and ranges in seconds, by step."""
    home = lab.home / "signin"
    command = [sys.executable, "-m", "fhirhub", "import", "--demo", "--workers", "1"]
    subprocess.run(command, env=lab.environment(None, home), check=True, stdout=subprocess.DEVNULL)
    password = demo.password(keys.load(Settings(data_dir=home)), USER)
    process, port = lab.spawn(None, home=home, auth=True)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
            )
            taken = [once(browser, f"http://127.0.0.1:{port}", password) for _ in range(times + 1)][1:]
            browser.close()
    finally:
        end(process)
    steps = {
        step: {
            "median_s": round(median(each[step] for each in taken), 3),
            "range_s": [
                round(min(each[step] for each in taken), 3),
                round(max(each[step] for each in taken), 3),
            ],
        }
        for step in STEPS
    }
    return {"machine": machine.describe(ROOT), "times": times, **steps}


if __name__ == "__main__":
    sys.exit(main())
