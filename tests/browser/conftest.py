"""Chromium, for pages in real browsers."""

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, expect, sync_playwright

CHROMIUM = os.environ.get("FASTWS_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"),
]

expect.set_options(timeout=30_000)  # milliseconds; five seconds are few where a machine is busy


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all tests; they make contexts of their own."""
    if CHROMIUM is None:
        pytest.skip("no Chromium (Debian package chromium, or FASTWS_TEST_CHROMIUM)")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """What belongs together, as in a window; the test fails if a page in it reports an error."""
    opened = browser.new_context(viewport={"width": 900, "height": 640})
    errors: list[str] = []
    opened.on("weberror", lambda error: errors.append(str(error.error)))
    yield opened
    opened.close()
    assert not errors
