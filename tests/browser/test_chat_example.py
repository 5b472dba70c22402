"""The page of examples/chat, in two tabs of real Chromium."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.operating import call
from tests.examples.users import example
from tests.support.server import ServerProcess

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with example("chat", "--admin-port", "0", folder="chat", env={"FASTWS_JWT_SECRET": "x" * 32}) as process:
        yield process


def join(context: BrowserContext, server: ServerProcess, name: str, room: str) -> Page:
    page = context.new_page()
    page.goto(server.url("/", "http"))
    page.get_by_label("Your name").fill(name)
    page.get_by_label("Room").fill(room)
    page.get_by_role("button", name="Join").click()
    expect(page.locator("#state")).to_have_text("connected")
    return page


def say(page: Page, text: str) -> None:
    page.get_by_label("Message").fill(text)
    page.get_by_role("button", name="Send").click()


def test_names_presence_and_history(context: BrowserContext, server: ServerProcess) -> None:
    ann = join(context, server, "Ann", "kitchen")
    say(ann, "<b>anybody there?</b>")
    expect(ann.locator("#messages li")).to_have_text(["Ann: <b>anybody there?</b>"])
    ben = join(context, server, "Ben", "kitchen")
    expect(ben.locator("#messages li")).to_have_text(["Ann: <b>anybody there?</b>"])
    expect(ann.locator("#members")).to_have_text("Ann, Ben")
    expect(ben.locator("#members")).to_have_text("Ann, Ben")
    say(ben, "yes")
    expect(ann.locator("#messages li")).to_have_text(["Ann: <b>anybody there?</b>", "Ben: yes"])
    ben.close()
    expect(ann.locator("#members")).to_have_text("Ann")


def test_a_page_comes_back_and_has_missed_nothing(context: BrowserContext, server: ServerProcess) -> None:
    ben = join(context, server, "Ben", "garden")
    (conn,) = call(server, "presence", topic="chat:garden")["members"]
    ann = join(context, server, "Ann", "garden")
    meanwhile = {"method": "publish", "topic": "chat:garden", "data": {"name": "Cat", "text": "meanwhile"}}
    call(server, "batch", commands=[{"method": "disconnect", "conn": conn, "code": 4006}, meanwhile])
    expect(ben.locator("#messages li")).to_have_text(["Cat: meanwhile"])
    say(ann, "welcome back")
    expect(ben.locator("#messages li")).to_have_text(["Cat: meanwhile", "Ann: welcome back"])
    expect(ann.locator("#members")).to_have_text("Ann, Ben")
