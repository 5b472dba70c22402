"""The ten lines of JavaScript of the README, in real Chromium beside its ten lines of Python."""

import pytest
from playwright.sync_api import BrowserContext

from tests.docs.pages import blocks
from tests.support.server import ServerProcess

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


def test_a_page_says_hello(context: BrowserContext) -> None:
    (program,) = (block.text for block in blocks("README.md") if block.file_name == "chat.py")
    (script,) = (block.text for block in blocks("README.md") if block.language == "js")
    assert len([line for line in program.splitlines() if line.strip()]) <= 10
    assert len([line for line in script.splitlines() if line.strip()]) <= 10
    with ServerProcess(source=program) as server:
        page = context.new_page()
        page.goto(server.url("/healthz", "http"))
        with page.expect_console_message(lambda message: message.text == "hello"):
            page.add_script_tag(content=script.replace("127.0.0.1:8000", f"{server.host}:{server.port}"))
