"""What is kept beside a wire, and what is dropped when the connection is established."""

from __future__ import annotations

from fastws.core.request import parse_request
from fastws.net.session import Details, Session

REQUEST = parse_request(b"GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nX-B: 2\r\nX-A: \r\n\r\n")


def test_headers_are_complete_while_the_request_is_there() -> None:
    details = Details()
    assert details.headers == []
    details.request = REQUEST
    assert details.headers == [(b"host", b"h"), (b"x-a", b"1"), (b"x-b", b"2"), (b"x-a", b"")]


def test_afterwards_only_what_is_to_be_kept() -> None:
    details = Details()
    details.request = REQUEST
    assert details.forget_request({b"x-a"})
    assert details.request is None
    assert details.headers == [(b"x-a", b"1"), (b"x-a", b"")]
    assert details.forget_request({b"x-a"})


def test_nothing_worth_keeping() -> None:
    details = Details()
    details.request = REQUEST
    assert not details.forget_request(())
    details.query = b"a"
    assert details.forget_request(())


def test_a_state_is_worth_keeping_even_if_empty() -> None:
    details = Details()
    details.state = {}
    assert details.forget_request(())


def test_sessions_of_nobody_in_particular() -> None:
    session = Session()
    assert (session.user, session.tenant, session.device, session.claims, session.info) == (
        "",
        "",
        "default",
        None,
        None,
    )
    assert not session.is_busy
    assert session.need_details() is session.need_details() is session.details


def test_credentials_are_forgotten_with_the_request_and_the_query_stays() -> None:
    details = Details()
    details.query, details.credentials = b"token=1", object()
    assert details.forget_request(())
    assert (details.query, details.credentials) == (b"token=1", None)
