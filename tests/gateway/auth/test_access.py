"""Who may do what."""

from __future__ import annotations

import pytest

from fastws.core.topics import Namespace, Namespaces
from fastws.errors import TopicError
from fastws.gateway.auth.access import PUBLISH, SUBSCRIBE, Access
from fastws.gateway.auth.identity import ANONYMOUS, Identity
from fastws.gateway.session import Session
from fastws.net.connection import Connection

SOMEBODY = Identity("42")


def check(access: Access, identity: Identity, action: str, namespace: Namespace) -> None:
    session = Session()
    session.identity = identity
    conn: Connection = None  # type: ignore[assignment]  # options do not look at it
    assert access.check(conn, session, action, "chat:a", namespace) is None


def access(*, trusted: bool = False) -> Access:
    return Access(Namespaces({"chat": {"subscribe": "all"}}), anonymous_is_trusted=trusted)


def allowed(rule: str, identity: Identity, *, trusted: bool) -> bool:
    verdicts = []
    for action in (SUBSCRIBE, PUBLISH):
        options = {SUBSCRIBE: "nobody", PUBLISH: "nobody", action: rule}
        code = 0
        try:
            check(access(trusted=trusted), identity, action, Namespace(**options))  # type: ignore[arg-type]
        except TopicError as error:
            code = error.code
        verdicts.append({0: True, 103: False}[code])
    assert verdicts[0] == verdicts[1]
    return verdicts[0]


@pytest.mark.parametrize(
    ("rule", "anonymous", "trusted_anonymous", "somebody"),
    [
        ("all", True, True, True),
        ("authenticated", False, True, True),
        ("token", False, False, False),
        ("nobody", False, False, False),
    ],
)
def test_options(rule: str, anonymous: bool, trusted_anonymous: bool, somebody: bool) -> None:
    assert allowed(rule, ANONYMOUS, trusted=False) is anonymous
    assert allowed(rule, ANONYMOUS, trusted=True) is trusted_anonymous
    assert allowed(rule, SOMEBODY, trusted=False) is somebody


def test_namespaces() -> None:
    assert access().namespace("chat:a").subscribe == "all"
    for topic, code in (("other:a", 102), ("", 107), ("\0", 107)):
        with pytest.raises(TopicError) as raised:
            access().namespace(topic)
        assert raised.value.code == code


def test_the_first_refusal_of_an_anonymous_client_is_explained(caplog: pytest.LogCaptureFixture) -> None:
    strict = access()
    for _ in range(3):
        with pytest.raises(TopicError):
            check(strict, ANONYMOUS, PUBLISH, Namespace())
    assert len(caplog.records) == 1
    assert "--jwt-secret" in caplog.text
    assert 'publish = "all"' in caplog.text
