"""Pages in a browser on the server's own machine cannot use an admin address that has no key."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import BrowserContext

from tests.support.server import ServerProcess

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

# All that a page may send anywhere without asking first, and what it would have to ask for.
TRIES = """
async ([admin, topic]) => {
  const url = admin + "/api/publish";
  const body = JSON.stringify({ topic, data: "from a page" });
  const types = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/json"];
  const outcomes = [];
  for (const type of types) {
    for (const mode of ["no-cors", "cors"]) {
      const options = { method: "POST", mode, body, headers: { "Content-Type": type }, referrerPolicy: "no-referrer" };
      try {
        outcomes.push((await fetch(url, options)).type);
      } catch (error) {
        outcomes.push(error.name);
      }
    }
    navigator.sendBeacon(url, new Blob([body], { type }));
  }
  await fetch(url, { method: "POST", mode: "no-cors", body: new Blob([body]) });
  return outcomes;
}
"""

FORM = """
([admin, topic]) => new Promise((resolve) => {
  const frame = document.createElement("iframe");
  frame.name = "elsewhere";
  document.body.append(frame);
  const form = document.createElement("form");
  form.action = admin + "/api/publish";
  form.method = "POST";
  form.enctype = "text/plain";
  form.target = "elsewhere";
  const field = document.createElement("input");
  field.name = `{"topic": "${topic}", "data": "from a form`;
  field.value = `"}`;
  form.append(field);
  document.body.append(form);
  frame.onload = () => resolve();
  form.submit();
})
"""

OWN = """
async (topic) => {
  const body = JSON.stringify({ topic, data: "from its own page" });
  const headers = { "Content-Type": "application/json" };
  return (await fetch("/api/publish", { method: "POST", body, headers })).status;
}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess("--dev", "--admin-port", "0") as process:
        yield process


def heard(server: ServerProcess, topic: str) -> list[Any]:
    """What was published to a topic, as a program on this machine can ask."""
    body = json.dumps({"topic": topic}).encode()
    request = urllib.request.Request(f"{server.admin_url}/api/history", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return [entry["data"] for entry in json.load(response)["result"]["publications"]]


def test_a_page_of_another_origin_can_do_nothing(context: BrowserContext, server: ServerProcess) -> None:
    page = context.new_page()
    page.goto(server.url("/healthz", "http"))
    outcomes = page.evaluate(TRIES, [server.admin_url, "tries"])
    assert set(outcomes) <= {"opaque", "TypeError"}
    page.evaluate(FORM, [server.admin_url, "tries"])
    assert heard(server, "tries") == []


def test_nor_can_one_whose_name_leads_here(context: BrowserContext, server: ServerProcess) -> None:
    """`*.localhost` is loopback for browsers: a name that is not the server's own, as after DNS rebinding."""
    page = context.new_page()
    admin = server.admin_url.replace("127.0.0.1", "rebound.localhost")
    page.goto(f"{admin}/healthz")
    assert page.evaluate(OWN, "rebound") == 401
    assert heard(server, "rebound") == []


def test_its_own_page_can(context: BrowserContext, server: ServerProcess) -> None:
    page = context.new_page()
    page.goto(f"{server.admin_url}/healthz")
    assert page.evaluate(OWN, "own") == 200
    assert heard(server, "own") == ["from its own page"]
