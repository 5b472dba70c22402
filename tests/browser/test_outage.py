"""Pages in real Chromium while the Redis of their server is away, and when it is back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.examples.users import example
from tests.support.redis import RedisServer
from tests.support.server import ServerProcess

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

PATIENCE_MS = 30_000
"""Redis starts, links come back, and a page that was refused asks again within three seconds."""


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """One that keeps what it has over a restart."""
    with RedisServer("--appendfsync", "always", persistent=True) as server:
        yield server


def join(page: Page, server: ServerProcess, name: str) -> None:
    page.goto(server.url("/", "http"))
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Join").click()


def say(page: Page, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    page.get_by_role("button", name="Send").click()


def goes_through_an_outage(context: BrowserContext, redis: RedisServer, server: ServerProcess, said: str) -> None:
    """:param said: where a page shows what was said."""
    ann, late = context.new_page(), context.new_page()
    join(ann, server, "Ann")
    expect(ann.get_by_role("status")).to_have_text("connected")
    say(ann, "before")
    expect(ann.locator(said).filter(has_text="before")).to_be_visible()
    expect(ann.get_by_role("alert")).to_be_hidden()

    redis.stop()
    expect(ann.get_by_role("alert")).to_contain_text("cut off", timeout=PATIENCE_MS)
    say(ann, "meanwhile")
    expect(ann.get_by_label("Message", exact=True)).to_have_value("meanwhile")  # it was not sent, and is given back
    join(late, server, "Late")
    expect(late.get_by_role("alert")).to_be_visible(timeout=PATIENCE_MS)

    redis.start()
    for page in (ann, late):
        expect(page.get_by_role("alert")).to_be_hidden(timeout=PATIENCE_MS)
        expect(page.get_by_role("status")).to_have_text("connected", timeout=PATIENCE_MS)
        expect(page.locator(said).filter(has_text="before")).to_be_visible(timeout=PATIENCE_MS)
    ann.get_by_role("button", name="Send").click()
    for page in (ann, late):
        expect(page.locator(said).filter(has_text="meanwhile")).to_be_visible(timeout=PATIENCE_MS)


def test_the_chat_example(context: BrowserContext, redis: RedisServer) -> None:
    with example(
        "chat", "--redis", redis.url, "--drain-timeout", "1", folder="chat", env={"FASTWS_JWT_SECRET": "x" * 32}
    ) as server:
        goes_through_an_outage(context, redis, server, "#messages li:not(:has-text('Not sent'))")


def test_the_demo_page(context: BrowserContext, redis: RedisServer) -> None:
    with ServerProcess("--dev", "--redis", redis.url, "--drain-timeout", "1") as server:
        goes_through_an_outage(context, redis, server, "#messages .text")
