"""The demo page of `--dev`, in real Chromium: two tabs chat with one another."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.operating import call
from tests.support.server import ServerProcess

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess("--dev", "--admin-port", "0") as process:
        yield process


@pytest.fixture
def tabs(context: BrowserContext, server: ServerProcess) -> Iterator[tuple[Page, Page]]:
    """Two tabs on the demo page; the test fails if either reports an error or asks for something from elsewhere."""
    errors: list[str] = []
    pages = (context.new_page(), context.new_page())
    own = (server.url("", "http"), server.url("", "ws"), "data:")
    for page in pages:
        page.on("request", lambda request: request.url.startswith(own) or errors.append(f"asks for {request.url}"))
        page.on("dialog", lambda dialog: (errors.append(dialog.message), dialog.dismiss()))
        page.goto(server.url("/", "http"))
    yield pages
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


def test_who_is_here(tabs: tuple[Page, Page]) -> None:
    ann, ben = tabs
    join(ann, "Ann", "porch")
    expect(ann.locator("#people-title")).to_have_text("1 here now")
    join(ben, "Ben", "porch")
    for page in tabs:
        expect(page.locator("#people-title")).to_have_text("2 here now")
    say(ben, "I am Ben")
    expect(ann.locator("#members li")).to_have_text(["Ann (you)", "Ben"])
    ben.get_by_role("button", name="Leave").click()
    expect(ann.locator("#members li")).to_have_text(["Ann (you)"])


def test_a_lost_connection_misses_nothing(tabs: tuple[Page, Page], server: ServerProcess) -> None:
    ann, ben = tabs
    topic = "chat:tower"
    join(ben, "Ben", "tower")
    (conn,) = call(server, "presence", topic=topic)["members"]
    join(ann, "Ann", "tower")
    say(ann, "before")
    expect(ben.locator("#messages .text")).to_have_text(["before"])
    meanwhile = {"method": "publish", "topic": topic, "data": {"name": "Cat", "text": "meanwhile"}}
    call(server, "batch", commands=[{"method": "disconnect", "conn": conn, "code": 4006}, meanwhile])
    expect(ben.locator("#messages .text")).to_have_text(["before", "meanwhile"])
    say(ann, "after")
    expect(ben.locator("#messages .text")).to_have_text(["before", "meanwhile", "after"])
    expect(ben.locator("#messages .note")).to_have_count(0)
    expect(ann.locator("#people-title")).to_have_text("2 here now")


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
