"""The demo page of `--dev`, in real Chromium: two tabs chat with one another."""

import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.server import ServerProcess

CHROMIUM = os.environ.get("FASTWS_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"),
]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(180),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (Debian package chromium, or FASTWS_TEST_CHROMIUM)"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess("--dev") as process:
        yield process


@pytest.fixture
def tabs(browser: Browser, server: ServerProcess) -> Iterator[tuple[Page, Page]]:
    """Two tabs on the demo page; the test fails if either reports an error or asks for something from elsewhere."""
    context = browser.new_context(viewport={"width": 900, "height": 640})
    errors: list[str] = []
    pages = (context.new_page(), context.new_page())
    own = (server.url("", "http"), server.url("", "ws"), "data:")
    for page in pages:
        page.on("request", lambda request: request.url.startswith(own) or errors.append(f"asks for {request.url}"))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("dialog", lambda dialog: (errors.append(dialog.message), dialog.dismiss()))
        page.goto(server.url("/", "http"))
    yield pages
    context.close()
    assert not errors


def join(page: Page, name: str, room: str) -> None:
    page.get_by_label("Your name").fill(name)
    page.get_by_label("Room").fill(room)
    page.get_by_role("button", name="Join").click()
    expect(page.locator("#state-text")).to_have_text("connected")


def say(page: Page, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    page.get_by_role("button", name="Send").click()


def messages(page: Page) -> list[str]:
    return page.locator("#messages .text").all_inner_texts()


def test_two_tabs_chat(tabs: tuple[Page, Page]) -> None:
    ann, ben = tabs
    join(ann, "Ann", "kitchen")
    join(ben, "Ben", "kitchen")
    say(ann, "is anybody there?")
    expect(ben.locator("#messages .text")).to_have_text(["is anybody there?"])
    say(ben, "yes ✓")
    for page in tabs:
        expect(page.locator("#messages .text")).to_have_text(["is anybody there?", "yes ✓"])
        expect(page.locator("#messages .who span")).to_have_text(["Ann", "Ben"])
    expect(ann.locator("#messages li.mine .text")).to_have_text(["is anybody there?"])
    if directory := os.environ.get("FASTWS_TEST_SCREENSHOTS"):
        ben.screenshot(path=Path(directory, "chat.png"))


def test_rooms_are_apart(tabs: tuple[Page, Page]) -> None:
    ann, ben = tabs
    join(ann, "Ann", "cellar")
    join(ben, "Ben", "attic")
    say(ann, "cold here")
    expect(ann.locator("#messages .text")).to_have_text(["cold here"])
    say(ben, "warm here")
    expect(ben.locator("#messages .text")).to_have_text(["warm here"])


def test_markup_is_shown_as_text(tabs: tuple[Page, Page]) -> None:
    ann, ben = tabs
    evil = "<img src=x onerror=\"alert(1)\"><b>bold</b> & 'quoted'"
    join(ann, "<script>alert(2)</script>", "markup")
    join(ben, "Ben", "markup")
    say(ann, evil)
    expect(ben.locator("#messages .text")).to_have_text([evil])
    expect(ben.locator("#messages .who span")).to_have_text(["<script>alert(2)</script>"])
    assert ben.locator("#messages img, #messages b, #messages script").count() == 0


def test_a_late_comer_sees_what_was_said(tabs: tuple[Page, Page]) -> None:
    ann, ben = tabs
    join(ann, "Ann", "library")
    for text in ("first", "second", "third"):
        say(ann, text)
    expect(ann.locator("#messages .text")).to_have_text(["first", "second", "third"])
    join(ben, "Ben", "library")
    expect(ben.locator("#messages .text")).to_have_text(["first", "second", "third"])
    say(ann, "fourth")
    expect(ben.locator("#messages .text")).to_have_text(["first", "second", "third", "fourth"])


def test_leaving_and_joining_another_room(tabs: tuple[Page, Page]) -> None:
    ann, _ = tabs
    join(ann, "Ann", "hall")
    ann.get_by_role("button", name="Leave").click()
    expect(ann.locator("#state-text")).to_have_text("not connected")
    join(ann, "Ann", "garden")
    say(ann, "sunny")
    expect(ann.locator("#messages .text")).to_have_text(["sunny"])


def test_the_page_reconnects_after_a_restart(browser: Browser) -> None:
    page = browser.new_page()
    with ServerProcess("--dev") as first:
        port = first.port
        page.goto(first.url("/", "http"))
        join(page, "Ann", "bridge")
        first.signal(signal.SIGTERM)
        assert first.wait() == 0
    expect(page.locator("#state-text")).to_contain_text("connection lost")
    with ServerProcess("--dev", "--port", str(port)):
        expect(page.locator("#state-text")).to_have_text("connected", timeout=40_000)
        say(page, "back again")
        expect(page.locator("#messages .text")).to_have_text(["back again"])
        page.close()


def test_everything_has_a_name_for_a_screen_reader(tabs: tuple[Page, Page]) -> None:
    page, _ = tabs
    unnamed = "els => els.filter(e => !e.labels?.length && !e.textContent.trim() && !e.ariaLabel).map(e => e.outerHTML)"
    assert page.locator("input, button").evaluate_all(unnamed) == []
    assert page.locator("#messages").get_attribute("aria-live") == "polite"
    assert page.locator("html").get_attribute("lang") == "en"
    assert re.search(r"\S", page.title())
