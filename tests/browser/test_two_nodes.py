"""The chat example on two nodes and one Redis, in two browsers, behind a load balancer; either node is killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.operating import call
from tests.examples.users import example
from tests.support.balancing import Balancer
from tests.support.redis import RedisServer
from tests.support.server import ServerProcess
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

LEASE_S = 3.0
PATIENCE_MS = 30_000


@contextmanager
def node(redis: RedisServer, name: str) -> Iterator[ServerProcess]:
    """A node that may be killed. A lease is three times the interval of its pings."""
    options = ("--redis", redis.url, "--node-name", name, "--admin-port", "0", "--ping-interval", "1")
    server = example("chat", *options, folder="chat", env={"FASTWS_JWT_SECRET": "x" * 32})
    try:
        yield server.start()
    finally:
        server.kill()


@contextmanager
def window(browser: Browser) -> Iterator[BrowserContext]:
    """A browser of one's own, but for its program; a page in it must not report an error."""
    context = browser.new_context()
    errors: list[str] = []
    context.on("weberror", lambda error: errors.append(str(error.error)))
    yield context
    context.close()
    assert not errors


def join(context: BrowserContext, balancer: Balancer, name: str) -> Page:
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{balancer.port}/")
    page.get_by_label("Your name").fill(name)
    page.get_by_label("Room").fill("hall")
    page.get_by_role("button", name="Join").click()
    expect(page.locator("#state")).to_have_text("connected")
    return page


def say(page: Page, text: str) -> None:
    page.get_by_label("Message").fill(text)
    page.get_by_role("button", name="Send").click()


def shows(page: Page, *messages: str, members: str = "Ann, Ben") -> None:
    """The messages are there, each once and in their order, and so are the members."""
    expect(page.locator("#messages li")).to_have_text(list(messages), timeout=PATIENCE_MS)
    expect(page.locator("#members")).to_have_text(members, timeout=PATIENCE_MS)


def connections(server: ServerProcess) -> int:
    return int(call(server, "presence", topic="chat:hall")["connections"])


def address(server: ServerProcess) -> tuple[str, int]:
    return server.host, server.port


def test_messages_cross_and_either_node_may_be_killed(browser: Browser) -> None:
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        a = stack.enter_context(node(redis, "a"))
        b = stack.enter_context(node(redis, "b"))
        to_a = stack.enter_context(Balancer([address(a), address(b)]))
        to_b = stack.enter_context(Balancer([address(b), address(a)]))
        ann = join(stack.enter_context(window(browser)), to_a, "Ann")
        ben = join(stack.enter_context(window(browser)), to_b, "Ben")
        nodes = {session["id"]: session["connections"] for session in call(a, "nodes")["nodes"]}
        assert nodes.keys() == {"a", "b"}
        say(ann, "hello")
        said = ["Ann: hello"]
        shows(ben, *said)
        say(ben, "hello Ann")
        said.append("Ben: hello Ann")
        for page in (ann, ben):
            shows(page, *said)

        a.kill()
        say(ben, "are you there?")
        said.append("Ben: are you there?")
        expect(ann.locator("#messages li")).to_have_text(said, timeout=PATIENCE_MS)
        wait_until(lambda: connections(b) == 2)
        for page in (ann, ben):
            shows(page, *said)

        again = stack.enter_context(node(redis, "a"))
        to_a.servers = to_b.servers = [address(again)]
        wait_until(lambda: len(call(again, "nodes")["nodes"]) == 2)
        b.kill()
        for page in (ann, ben):
            expect(page.locator("#state")).to_have_text("connected", timeout=PATIENCE_MS)
        wait_until(lambda: connections(again) == 2)
        say(ann, "moved")
        said.append("Ann: moved")
        for page in (ann, ben):
            shows(page, *said)
        late = join(stack.enter_context(window(browser)), to_b, "Cat")
        shows(late, *said, members="Ann, Ben, Cat")
