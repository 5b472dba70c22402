"""Who may do what."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from fastws.core.patterns import PatternTable, compile_pattern
from fastws.core.topics import Namespace, Namespaces
from fastws.errors import TopicError
from fastws.gateway.auth.access import PUBLISH, SUBSCRIBE, Access
from fastws.gateway.auth.claims import Permissions
from fastws.gateway.auth.identity import ANONYMOUS, Identity, Profile
from fastws.gateway.auth.permissions import Grants
from fastws.gateway.auth.tokens import SharedSecret, Verifier, sign
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


# The order of judgement: permissions of the token, rules of the application, options.

PERMITTED = {
    "yes": Grants(Permissions(("chat:*",), ("chat:*",))),
    "no": Grants(Permissions((), ())),
    "absent": Grants(),
}


def ruled(answers: dict[str, Callable[..., Any]]) -> PatternTable[Callable[..., Any]]:
    table: PatternTable[Callable[..., Any]] = PatternTable()
    for pattern, rule in answers.items():
        table.add(compile_pattern(pattern), rule)
    return table


async def verdict(
    action: str, namespace: Namespace, grants: str, rule: Callable[..., Any] | None, identity: Identity = SOMEBODY
) -> int:
    """0, or the error's code."""
    rules = ruled({"chat:{room}": rule}) if rule is not None else None
    judge = Access(
        Namespaces({}),
        anonymous_is_trusted=False,
        subscribe_rules=rules if action == SUBSCRIBE else None,
        publish_rules=rules if action == PUBLISH else None,
    )
    session = Session()
    session.identity = Identity(identity.user, Profile(grants=PERMITTED[grants]))
    conn: Connection = None  # type: ignore[assignment]
    try:
        answer = judge.check(conn, session, action, "chat:a", namespace)
        if isinstance(answer, Awaitable):
            await answer
    except TopicError as error:
        return error.code
    return 0


async def _later(answer: Any) -> Any:
    await asyncio.sleep(0)
    return answer


RULES: dict[str, Callable[..., Any] | None] = {
    "none": None,
    "yes": lambda _conn, room: room == "a",
    "no": lambda _conn, room: room == "b",
    "yes later": lambda _conn, room: _later(room == "a"),
    "no later": lambda _conn, room: _later(room == "b"),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("action", [SUBSCRIBE, PUBLISH])
@pytest.mark.parametrize(
    ("grants", "rule", "option"), list(itertools.product(PERMITTED, RULES, ["all", "authenticated", "token", "nobody"]))
)
async def test_the_whole_table(action: str, grants: str, rule: str, option: str) -> None:
    allowed_by_option = option in ("all", "authenticated")
    expected = {
        ("absent", "none"): allowed_by_option,
        ("absent", "yes"): True,
        ("absent", "no"): False,
        ("yes", "none"): True,
        ("yes", "yes"): True,
        ("yes", "no"): False,
    }.get((grants, rule.partition(" ")[0]), False)
    namespace = Namespace(**{"subscribe": "nobody", "publish": "nobody", action: option})
    assert await verdict(action, namespace, grants, RULES[rule]) == (0 if expected else 103)


@pytest.mark.asyncio
@pytest.mark.parametrize("answer", [None, 0, "", []])
async def test_only_what_is_true_is_a_yes(answer: Any) -> None:
    for rule in (lambda _conn, room: answer, lambda _conn, room: _later(answer)):
        assert await verdict(SUBSCRIBE, Namespace(subscribe="all"), "absent", rule) == 103


@pytest.mark.asyncio
async def test_what_rules_raise_goes_through() -> None:
    def refuse(_conn: Any, room: str) -> bool:
        raise TopicError(1234, room)

    def fail(_conn: Any, room: str) -> bool:
        raise ZeroDivisionError

    assert await verdict(SUBSCRIBE, Namespace(), "absent", refuse) == 1234
    with pytest.raises(ZeroDivisionError):
        await verdict(SUBSCRIBE, Namespace(), "absent", fail)


def test_whether_a_subscription_could_still_be_made() -> None:
    """As far as nobody has to be asked."""
    judge = Access(
        Namespaces({}), anonymous_is_trusted=False, subscribe_rules=ruled({"ruled:{x}": lambda conn, x: False})
    )
    session = Session()
    cases = [
        ("", "absent", "all", "chat:a", True),
        ("", "absent", "authenticated", "chat:a", False),
        ("42", "absent", "authenticated", "chat:a", True),
        ("42", "absent", "token", "chat:a", True),
        ("42", "absent", "nobody", "chat:a", False),
        ("42", "absent", "nobody", "ruled:a", True),
        ("42", "yes", "nobody", "chat:a", True),
        ("42", "no", "all", "ruled:a", False),
    ]
    for user, grants, option, topic, expected in cases:
        session.identity = Identity(user, Profile(grants=PERMITTED[grants]))
        assert judge.allows(session, topic, Namespace(subscribe=option)) is expected


# Subscription tokens.

SECRET = "a secret of thirty-two characters at least"
ASKED = Namespace(subscribe="token", publish="token")


class Clockwork:
    """The part of a connection that subscription tokens need."""

    deadline = 0.0

    def set_deadline(self, seconds: float) -> None:
        self.deadline = seconds


def pass_for(topic: str, **claims: Any) -> str:
    return sign({"topic": topic, "sub": "42"} | claims, SECRET)


def entry(
    session: Session, topic: str, token: str | None, namespace: Namespace = ASKED, *, action: str = SUBSCRIBE
) -> int:
    judge = Access(Namespaces({}), anonymous_is_trusted=True, verifier=Verifier([SharedSecret(SECRET)]))
    try:
        assert judge.check(Clockwork(), session, action, topic, namespace, token) is None  # type: ignore[arg-type]
    except TopicError as error:
        return error.code
    return 0


@pytest.fixture
def session() -> Session:
    session = Session()
    session.identity = SOMEBODY
    return session


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("token", "code"),
    [
        (pass_for("chat:a"), 0),
        (pass_for("chat:a", exp=int(time.time()) + 86_400), 0),
        (pass_for("chat:a", exp=int(time.time()) - 60), 109),
        (None, 103),
        ("", 103),
        ("x", 103),
        (pass_for("chat:*"), 103),
        (pass_for("chat:A"), 103),
        (pass_for("chat:a "), 103),
        (pass_for("chat:a", sub="43"), 103),
        (pass_for("chat:a", sub=""), 103),
        (pass_for("chat:a", tenant="acme"), 103),
        (sign({"sub": "42"}, SECRET), 103),
        (sign({"sub": "42", "topic": "chat:a"}, SECRET + "x"), 103),
    ],
)
async def test_a_token_for_the_topic(session: Session, token: str | None, code: int) -> None:
    assert entry(session, "chat:a", token) == code
    assert (session.passes is not None) is (code == 0)


@pytest.mark.asyncio
async def test_anonymous_clients_have_tokens_without_a_user(session: Session) -> None:
    session.identity = ANONYMOUS
    assert entry(session, "chat:a", pass_for("chat:a")) == 103
    assert entry(session, "chat:a", sign({"topic": "chat:a"}, SECRET)) == 0


@pytest.mark.asyncio
async def test_a_token_is_not_asked_for_where_a_list_permits_and_helps_nobody_whom_it_does_not(
    session: Session,
) -> None:
    session.identity = Identity("42", Profile(grants=PERMITTED["yes"]))
    assert entry(session, "chat:a", None) == 0
    session.identity = Identity("42", Profile(grants=PERMITTED["no"]))
    assert entry(session, "chat:a", pass_for("chat:a")) == 103


@pytest.mark.asyncio
async def test_namespaces_that_do_not_ask_ignore_tokens(session: Session) -> None:
    assert entry(session, "chat:a", "x", Namespace(subscribe="all")) == 0
    assert session.passes is None
    assert entry(session, "chat:a", "x", Namespace(subscribe="all", publish="token")) == 103


@pytest.mark.asyncio
async def test_whoever_showed_a_token_may_look_at_the_topic(session: Session) -> None:
    assert entry(session, "chat:a", pass_for("chat:a")) == 0
    assert entry(session, "chat:a", None) == 0
    assert entry(session, "chat:b", None) == 103


@pytest.mark.asyncio
async def test_a_token_publishes_only_where_it_has_subscribed(session: Session) -> None:
    """A subscription may still fail after its token was found right."""
    assert entry(session, "chat:a", pass_for("chat:a", pub=True)) == 0
    assert entry(session, "chat:a", None, action=PUBLISH) == 103
    session.note_subscribed(SimpleNamespace(key="chat:a"))  # type: ignore[arg-type]
    assert entry(session, "chat:a", None, action=PUBLISH) == 0
    assert entry(session, "chat:b", None, action=PUBLISH) == 103


def test_without_a_verifier_no_token_is_right(session: Session) -> None:
    with pytest.raises(TopicError):
        access().check(Clockwork(), session, SUBSCRIBE, "chat:a", ASKED, pass_for("chat:a"))  # type: ignore[arg-type]
