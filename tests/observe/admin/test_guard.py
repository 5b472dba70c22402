"""Who may call."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from fastws.observe.admin.guard import Guard

OPEN = Guard(None, "127.0.0.1")


def problem(guard: Guard, peer: str = "127.0.0.1", **headers: str) -> str | None:
    return guard.problem(peer, CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()}))


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_programs_on_this_machine_need_no_key_where_there_is_none(peer: str) -> None:
    assert not OPEN.needs_key
    assert problem(OPEN, peer, host="127.0.0.1:9000", content_type="application/json") is None
    assert problem(OPEN, peer) is None


@pytest.mark.parametrize("peer", ["192.0.2.1", "::ffff:192.0.2.1", "fe80::1%eth0", "2001:db8::1", "", "0.0.0.0", "x"])
def test_others_do(peer: str) -> None:
    assert "--admin-key" in str(problem(OPEN, peer, host="127.0.0.1:9000"))


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:9000", "LOCALHOST", "127.0.0.1", "127.0.0.2:1", "[::1]:9000", "[::1]", "::1", "Box:9000"],
)
def test_names_of_this_machine(host: str) -> None:
    assert problem(Guard(None, "box"), host=host) is None


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:9000", "localhost.evil.example", "127.0.0.1.evil.example", "192.0.2.1", "[::2]:1"],
)
def test_a_name_that_somebody_pointed_at_this_machine_is_none(host: str) -> None:
    assert "localhost" in str(problem(OPEN, host=host))


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "https://127.0.0.1:9000", "http://127.0.0.1:8000", "null", "", "http://"]
)
def test_pages_of_other_origins_are_refused(origin: str) -> None:
    assert "origins" in str(problem(OPEN, host="127.0.0.1:9000", origin=origin))


def test_a_page_of_this_address_may_call() -> None:
    same = {"host": "Localhost:9000", "origin": "http://localhost:9000", "sec_fetch_site": "same-origin"}
    assert problem(OPEN, **same, content_type="application/json") is None


@pytest.mark.parametrize("site", ["cross-site", "same-site", "x"])
def test_browsers_say_when_another_site_asks(site: str) -> None:
    assert "sites" in str(problem(OPEN, host="localhost", sec_fetch_site=site))


@pytest.mark.parametrize(
    "kind", ["text/plain", "Text/Plain; charset=utf-8", "multipart/form-data; boundary=x", " text/plain "]
)
def test_kinds_that_forms_send_are_refused(kind: str) -> None:
    assert "application/json" in str(problem(OPEN, content_type=kind))


@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded", ""])
def test_kinds_that_programs_send(kind: str) -> None:
    assert problem(OPEN, content_type=kind) is None


@pytest.mark.parametrize(
    "header", ["forwarded", "x_forwarded_for", "x_forwarded_host", "x_forwarded_proto", "x_real_ip", "via"]
)
def test_a_proxy_on_this_machine_does_not_open_it(header: str) -> None:
    assert "prox" in str(problem(OPEN, **{header: "192.0.2.1"}))


@pytest.mark.parametrize("authorization", ["Bearer k3y-é", "bearer k3y-é", "BEARER  k3y-é "])
def test_the_key_opens_from_anywhere(authorization: str) -> None:
    guard = Guard("k3y-é", "0.0.0.0")
    assert guard.needs_key
    assert problem(guard, "192.0.2.1", authorization=authorization, host="admin.example") is None


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Bearer k3y", "Bearer k3y-e", "Basic k3y-é", "k3y-é", "Bearer k3y-é x", "Bearer \udcff"],
)
@pytest.mark.parametrize("peer", ["127.0.0.1", "192.0.2.1"])
def test_nothing_but_the_key_does(authorization: str, peer: str) -> None:
    assert problem(Guard("k3y-é", "0.0.0.0"), peer, authorization=authorization) == "the admin key is needed"
    assert problem(Guard("k3y-é", "0.0.0.0"), peer) == "the admin key is needed"


def test_the_line_end_of_a_file_is_no_part_of_the_key() -> None:
    assert problem(Guard(" k3y\n", "127.0.0.1"), authorization="Bearer k3y") is None
