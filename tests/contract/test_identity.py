"""Who clients are: with tokens, without one, and where no key is configured."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import jwt
import orjson
import pytest

from tests.contract.talking import JSON, MSGPACK, Talker, get, http, upgrade
from tests.support.frames import CLOSE
from tests.support.server import ServerProcess
from tests.support.waiting import Stopwatch

NAMESPACES = """
[namespaces.default]
[namespaces.open]
subscribe = "all"
"""
APP = "from fastws import FastWS\napp = FastWS()\n"
RAW_APP = APP + "\n@app.raw('/echo')\ndef echo(conn, message): conn.send(message)\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The gateway with an application, so that nobody counts as authenticated."""
    file = tmp_path_factory.mktemp("identity") / "fastws.toml"
    file.write_text(NAMESPACES, encoding="utf-8")
    with ServerProcess("--config", str(file), source=RAW_APP) as process:
        yield process


def test_anonymous_clients_of_an_application_pass_what_is_open_to_all(server: ServerProcess) -> None:
    with Talker.welcomed(server) as client:
        assert client.ask("sub", topic="open:a")["topic"] == "open:a"
        for cmd, topic in (("sub", "a"), ("history", "a"), ("pub", "open:a"), ("pub", "a")):
            assert client.ask(cmd, topic=topic, data=1) == 103
        assert client.ask("sub", topic="other:a") == 102
    explained = [line for line in server.stderr().splitlines() if "anonymous" in line]
    assert len(explained) == 1
    assert "--dev" in explained[0]


def test_dev_opens_every_topic(tmp_path_factory: pytest.TempPathFactory) -> None:
    with ServerProcess("--dev", source=APP) as server, Talker.welcomed(server) as client:
        entered = client.ask("sub", topic="anything:at all")
        assert (entered["offset"], client.welcome["user"]) == (0, "")
        assert client.ask("pub", topic="anything:at all", data=1, echo=False)["offset"] == 1
        assert client.ask("pub", topic="default topic", data=1) != 103


def test_the_built_in_gateway_on_loopback_trusts() -> None:
    with ServerProcess() as server, Talker.welcomed(server) as client:
        assert client.ask("sub", topic="a")["topic"] == "a"
        assert client.ask("sub", topic="undeclared:a") == 102
    with ServerProcess("--host", "0.0.0.0", "--anonymous") as server:
        server.host = "127.0.0.1"
        with Talker.welcomed(server) as client:
            assert client.ask("sub", topic="a") == 103


@pytest.mark.parametrize("path", ["/ws?token=x", "/ws?token=", "/ws?a=1&token=x&b"])
def test_a_bad_token_in_the_query_closes_4500(server: ServerProcess, path: str) -> None:
    with Talker(server) as client:
        client.upgrade(path)
        assert client.closed_with() == (4500, "invalid_token")


def test_a_bad_token_as_subprotocol_closes_4500_and_is_not_echoed(server: ServerProcess) -> None:
    with Talker(server) as client:
        response = client.upgrade(headers=[("Sec-WebSocket-Protocol", f"fastws.token.abc, {JSON}")])
        assert response.headers["sec-websocket-protocol"] == JSON
        assert client.closed_with() == (4500, "invalid_token")


def test_only_the_first_place_of_tokens_is_judged(server: ServerProcess) -> None:
    refused = http(server, upgrade("/ws?token=x", "Authorization: Bearer x", "Sec-WebSocket-Protocol: fastws.token.x"))
    assert refused.status == 401
    with Talker(server) as client:
        client.upgrade("/ws", [("Authorization", "Basic eDp5")])
        assert client.hear()["event"] == "welcome"


def test_a_token_of_a_command_answers_101_and_closes_4500(server: ServerProcess) -> None:
    for cmd in ("auth", "refresh"):
        with Talker.welcomed(server) as client:
            assert client.ask(cmd, token="x") == 101
            frame = client.read_frame()
            assert (frame.opcode, frame.close_code, frame.close_reason) == (CLOSE, 4500, "invalid_token")


def test_raw_endpoints_take_no_token(server: ServerProcess) -> None:
    with Talker(server) as client:
        client.upgrade("/echo?token=x", [("Authorization", "Bearer x")])
        client.send_text("hello")
        assert client.read_message() == "hello"


# With a key.

SECRET = "a secret of thirty-two characters at least"
KEYED_FILE = """
[namespaces.default]
[namespaces.chat]
presence = true
history_size = 10
[namespaces.open]
subscribe = "all"
[namespaces.asked]
subscribe = "token"
publish = "token"
[namespaces.closed]
subscribe = "nobody"
publish = "nobody"
"""
KEYED_APP = """
from fastws import FastWS, Reject

app = FastWS()
asked = []


@app.on_upgrade
def upgrade(request):
    asked.append(request.user)


@app.on_connect
async def connect(conn):
    conn.state["rooms"] = conn.claims.get("rooms")
    if conn.user == "banned":
        raise Reject(4507)


@app.can_subscribe("ruled:{room}")
async def may_join(conn, room):
    return room in conn.claims["rooms"]


@app.raw("/whoami", auth=True)
def whoami(conn, message):
    conn.send(f"{conn.user} {conn.tenant} {conn.device} {conn.info} {conn.claims.get('rooms')} {conn.query} {message}")


@app.raw("/anyone")
def anyone(conn, message):
    conn.send(f"[{conn.user}] {message}")


@app.http("/me", auth=True)
def me(request):
    return {"user": request.user, "tenant": request.tenant, "rooms": request.claims.get("rooms")}


@app.http("/asked")
def who_was_asked(request):
    return {"asked": list(asked)}
"""
CODECS = pytest.mark.parametrize("codec", [JSON, MSGPACK])


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that verifies tokens; nothing of them is ever in its log."""
    file = tmp_path_factory.mktemp("keyed") / "fastws.toml"
    file.write_text(KEYED_FILE + "[namespaces.ruled]\nsubscribe = 'nobody'\n", encoding="utf-8")
    options = ("--config", str(file), "--log-level", "debug", "--access-log", "--deflate")
    with ServerProcess(*options, source=KEYED_APP, env={"FASTWS_JWT_SECRET": SECRET}) as process:
        yield process
        log = process.stderr()
        assert SECRET not in log
        assert "eyJ" not in log, "a token begins like this"


@pytest.fixture(scope="module")
def mixed() -> Iterator[ServerProcess]:
    """Tokens, and anonymous clients too."""
    namespaces = {"open": {"subscribe": "all"}}
    source = f"from fastws import FastWS\napp = FastWS(namespaces={namespaces!r})\n"
    options = ("--anonymous", "--jwt-issuer", "me", "--jwt-audience", "us")
    with ServerProcess(*options, source=source, env={"FASTWS_JWT_SECRET": SECRET}) as process:
        yield process


def token(lasts_s: float | None = 60, **claims: Any) -> str:
    """A token as any back end makes it."""
    times = {} if lasts_s is None else {"exp": int(time.time() + lasts_s)}
    return jwt.encode(times | claims, SECRET, algorithm="HS256")


def enter(server: ServerProcess, offered: str, place: str, codec: str = JSON, path: str = "/ws") -> tuple[Talker, Any]:
    """Connect with a token in one of the places; the client, and the answer to the upgrade."""
    client = Talker(server, codec)
    subprotocols = codec
    headers = []
    if place == "header":
        headers.append(("Authorization", f"Bearer {offered}"))
    elif place == "query":
        path += f"?token={offered}"
    else:
        subprotocols = f"fastws.token.{offered}, {codec}"
    return client, client.upgrade(path, [*headers, ("Sec-WebSocket-Protocol", subprotocols)])


@CODECS
@pytest.mark.parametrize("place", ["header", "query", "subprotocol"])
def test_a_token_with_the_upgrade(keyed: ServerProcess, codec: str, place: str) -> None:
    offered = token(sub="42", tenant="acme", device="web", info={"name": "Ada"})
    client, response = enter(keyed, offered, place, codec)
    with client:
        assert response.headers["sec-websocket-protocol"] == codec
        welcome = client.hear()
        assert (welcome["event"], welcome["user"], welcome["tenant"], welcome["device"]) == (
            *("welcome", "42"),
            *("acme", "web"),
        )
        assert isinstance(welcome["expires"], int)
        assert client.ask("sub", topic="price")["topic"] == "price"


@pytest.mark.parametrize("place", ["query", "subprotocol"])
def test_a_bad_token_closes_where_a_browser_cannot_see_a_status(keyed: ServerProcess, place: str) -> None:
    for offered, close in (
        (token(-5, sub="42"), (4001, "token_expired")),
        (jwt.encode({"sub": "42"}, SECRET + "x", algorithm="HS256"), (4500, "invalid_token")),
        (jwt.encode({"sub": "42"}, None, algorithm="none"), (4500, "invalid_token")),
        (token(), (4500, "invalid_token")),
    ):
        client, response = enter(keyed, offered, place)
        with client:
            assert response.status == 101
            assert client.closed_with() == close


def test_a_bad_token_in_the_header_gets_401_and_nobody_else_is_asked(keyed: ServerProcess) -> None:
    before = orjson.loads(http(keyed, get("/asked")).body)
    for offered, what in ((token(-5, sub="42"), "expired"), (token(sub=42), "invalid_token"), ("x", "invalid_token")):
        response = http(keyed, upgrade("/ws", f"Authorization: Bearer {offered}"))
        assert response.status == 401
        assert what in response.headers["www-authenticate"]
        assert offered == "x" or offered not in response.body.decode()
    refused = http(keyed, upgrade("/ws", "Authorization: Bearer x", "Origin: http://elsewhere"))
    assert refused.status == 403, "the origin is judged first"
    assert orjson.loads(http(keyed, get("/asked")).body) == before


def test_a_query_of_thousands_of_parameters_is_a_query(keyed: ServerProcess) -> None:
    with Talker(keyed) as client:
        client.upgrade("/ws?" + "&" * 4000 + "token=x")
        assert client.closed_with() == (4500, "invalid_token")
    assert http(keyed, get("/me?token=x" + "&" * 4000)).status == 401


def test_a_bearer_of_nothing_is_nobody(mixed: ServerProcess) -> None:
    for value in ("Bearer", "Bearer ", "bearer\t"):
        assert http(mixed, upgrade("/ws", f"Authorization: {value}")).status == 401


@CODECS
def test_auth_is_the_first_command_of_strangers(keyed: ServerProcess, codec: str) -> None:
    with Talker(keyed, codec) as client:
        client.upgrade("/ws", [("Sec-WebSocket-Protocol", codec)])
        assert client.ask("ping").keys() == {"ts"}
        for cmd in ("sub", "pub", "history", "refresh", "nonsense"):
            assert client.ask(cmd, topic="price", data=1, token="x") == 101
        assert client.ask("auth", token=token(-5, sub="42")) == 109
        client.say("auth", id=1, token=token(sub="42", topics=["chat:a", "closed:b", "undeclared:c"]))
        client.say("pub", id=2, topic="chat:a", data="hello", echo=False)
        heard = [client.hear() for _ in range(5)]
        assert heard[0].keys() == {"id", "result"}
        assert heard[0]["result"]["expires"] == heard[1]["expires"]
        assert [push.get("event") for push in heard[1:4]] == ["welcome", "subscribed", "subscribed"]
        assert [push["topic"] for push in heard[2:4]] == ["chat:a", "closed:b"]
        assert heard[4]["id"] == 2
        assert client.ask("auth", token=token(sub="42")) == 107


@CODECS
def test_a_bad_token_of_a_command_ends_the_connection(keyed: ServerProcess, codec: str) -> None:
    for bad in ("x", token(), token(sub="42", topic="asked:a")):
        with Talker(keyed, codec) as client:
            client.upgrade("/ws", [("Sec-WebSocket-Protocol", codec)])
            assert client.ask("auth", token=bad) == 101
            assert client.closed_with() == (4500, "invalid_token")


def test_strangers_say_less(keyed: ServerProcess) -> None:
    padding = "x" * 16384
    with Talker(keyed) as client:
        client.upgrade("/ws")
        client.send_text(f'{{"cmd":"ping","pad":"{padding}"}}')
        assert client.closed_with()[0] == 1009
    with Talker(keyed) as client:
        client.upgrade("/ws")
        client.say("auth", token=token(sub="42"))
        assert client.hear()["event"] == "welcome"
        client.send_text(f'{{"id":1,"cmd":"ping","pad":"{padding}"}}')
        assert client.hear()["id"] == 1


def test_only_who_is_known_by_the_upgrade_may_compress(keyed: ServerProcess) -> None:
    offer = ("Sec-WebSocket-Extensions", "permessage-deflate")
    with Talker(keyed) as client:
        assert "sec-websocket-extensions" not in client.upgrade("/ws", [offer]).headers
    with Talker(keyed) as client:
        response = client.upgrade("/ws", [offer, ("Authorization", f"Bearer {token(sub='42')}")])
        assert "permessage-deflate" in response.headers["sec-websocket-extensions"]


@CODECS
def test_the_connection_ends_with_its_token_within_two_seconds(keyed: ServerProcess, codec: str) -> None:
    ends, watch = int(time.time()) + 4, Stopwatch()
    client, _ = enter(keyed, jwt.encode({"sub": "42", "exp": ends}, SECRET, algorithm="HS256"), "header", codec)
    with client:
        assert client.hear()["expires"] == ends
        other, _ = enter(keyed, jwt.encode({"sub": "42", "exp": ends}, SECRET, algorithm="HS256"), "query", codec)
        with other:
            other.hear()
            assert other.ask("refresh", token=token(None, sub="42")) == {}
            assert client.closed_with() == (4001, "token_expired")
            assert ends <= time.time() < ends + 2 + watch.held_up_s
            assert other.ask("ping")


@CODECS
def test_refresh_is_for_the_same_user(keyed: ServerProcess, codec: str) -> None:
    client, _ = enter(keyed, token(sub="42", permissions={"sub": ["chat:*"]}), "query", codec)
    with client:
        client.hear()
        assert client.ask("sub", topic="chat:a")["topic"] == "chat:a"
        client.say("refresh", id="r", token=token(600, sub="42", permissions={"sub": ["price"]}))
        reply, ended = client.hear(), client.hear()
        assert reply["result"]["expires"] > time.time() + 500
        assert (ended["event"], ended["code"], ended["reason"], ended["resubscribe"]) == (
            *("unsubscribed", 2002, "permission_revoked"),
            False,
        )
        assert client.ask("sub", topic="chat:a") == 103
        assert client.ask("refresh", token=token(sub="43")) == 101
        assert client.closed_with() == (4500, "invalid_token")


@CODECS
def test_permissions_hold_on_every_way_to_a_topic(keyed: ServerProcess, codec: str) -> None:
    permissions = {"sub": ["chat:mine", "closed:*"], "pub": ["chat:mine"]}
    client, _ = enter(keyed, token(sub="42", permissions=permissions), "query", codec)
    with client:
        client.hear()
        for cmd in ("sub", "history", "presence", "presence_stats"):
            for topic in ("chat:other", "chat:mine2", "CHAT:mine", "chat:MINE", "chat:*", "chat:mine ", "price"):
                assert client.ask(cmd, topic=topic) in (102, 103), (cmd, topic)
            assert not isinstance(client.ask(cmd, topic="chat:mine"), int)
        assert client.ask("sub", topic="closed:a")["topic"] == "closed:a"
        assert client.ask("pub", topic="closed:a", data=1) == 103
        assert client.ask("pub", topic="chat:other", data=1) == 103
        assert "offset" in client.ask("pub", topic="chat:mine", data=1, echo=False)
        assert client.ask("sub", topic="undeclared:a") == 102


@CODECS
def test_rules_of_the_application_know_its_own_claims(keyed: ServerProcess, codec: str) -> None:
    client, _ = enter(keyed, token(sub="42", rooms=["a"]), "query", codec)
    with client:
        client.hear()
        assert client.ask("sub", topic="ruled:a")["topic"] == "ruled:a"
        assert client.ask("sub", topic="ruled:b") == 103


@CODECS
def test_subscription_tokens(keyed: ServerProcess, codec: str) -> None:
    client, _ = enter(keyed, token(sub="42"), "query", codec)
    with client:
        client.hear()
        for wrong in (None, "x", token(sub="43", topic="asked:a"), token(sub="42", topic="asked:b"), token(sub="42")):
            fields = {} if wrong is None else {"token": wrong}
            assert client.ask("sub", topic="asked:a", **fields) == 103
        assert client.ask("sub", topic="asked:a", token=token(-5, sub="42", topic="asked:a")) == 109
        assert client.ask("sub", topic="asked:c", token=token(None, sub="42", topic="asked:c"))["topic"] == "asked:c"
        assert client.ask("pub", topic="asked:c", data=1) == 103
        ends, watch = int(time.time()) + 4, Stopwatch()
        claims = {"sub": "42", "topic": "asked:a", "pub": True, "exp": ends}
        fresh = jwt.encode(claims, SECRET, algorithm="HS256")
        assert client.ask("sub", topic="asked:a", token=fresh)["topic"] == "asked:a"
        assert "duplicate" in client.ask("pub", topic="asked:a", data=1, echo=False)
        assert client.hear() == {
            "event": "unsubscribed",
            "topic": "asked:a",
            "code": 2501,
            "reason": "token_expired",
            "resubscribe": True,
        }
        assert ends <= time.time() < ends + 2 + watch.held_up_s
        assert client.ask("pub", topic="asked:a", data=1) == 103
        assert client.ask("unsub", topic="asked:c") == {}


def test_who_is_refused_by_the_application(keyed: ServerProcess) -> None:
    client, _ = enter(keyed, token(sub="banned"), "header")
    with client:
        assert client.closed_with() == (4507, "permission_denied")
    with Talker(keyed) as stranger:
        stranger.upgrade("/ws")
        stranger.say("auth", id=1, token=token(sub="banned"))
        assert stranger.closed_with() == (4507, "permission_denied")


@CODECS
def test_anonymous_clients_may_become_users(mixed: ServerProcess, codec: str) -> None:
    with Talker.welcomed(mixed, codec) as client:
        assert client.welcome["user"] == ""
        assert client.ask("sub", topic="open:a")["topic"] == "open:a"
        assert client.ask("sub", topic="price") == 103
        client.say("auth", token=token(sub="42", iss="me", aud=["us", "them"]))
        welcome = client.hear()
        assert (welcome["event"], welcome["user"], welcome["conn"]) == ("welcome", "42", client.welcome["conn"])
        assert client.ask("sub", topic="open:a") == 105
        assert client.ask("sub", topic="price")["topic"] == "price"
        assert client.ask("auth", token=token(sub="42", iss="me", aud="us")) == 107
    with Talker.welcomed(mixed, codec) as client:
        assert client.ask("auth", token=token(-5, sub="42", iss="me", aud="us")) == 109
        assert client.ask("auth", token=token(sub="42", iss="me", aud="them")) == 101
        assert client.closed_with() == (4500, "invalid_token")
    client, _ = enter(mixed, token(sub="42", aud="us"), "query", codec)
    with client:
        assert client.closed_with() == (4500, "invalid_token"), "a token that fails is never taken for none"


def test_raw_endpoints_that_ask_for_a_token(keyed: ServerProcess) -> None:
    offered = token(sub="42", tenant="acme", device="web", info={"a": 1}, rooms=["r"])
    for place in ("header", "query"):
        client, _ = enter(keyed, offered, place, path="/whoami")
        with client:
            client.send_text("hi")
            assert client.read_message() == "42 acme web {'a': 1} ['r'] {} hi"
    for request in (upgrade("/whoami"), upgrade("/whoami", "Authorization: Bearer x")):
        refused = http(keyed, request)
        assert refused.status == 401
        assert refused.headers["www-authenticate"].startswith("Bearer")
    for bad, close in (("x", (4500, "invalid_token")), (token(-5, sub="42"), (4001, "token_expired"))):
        client, _ = enter(keyed, bad, "query", path="/whoami")
        with client:
            assert client.closed_with() == close
    ends, watch = int(time.time()) + 1, Stopwatch()
    short = jwt.encode({"sub": "42", "exp": ends}, SECRET, algorithm="HS256")
    client, _ = enter(keyed, short, "header", path="/whoami")
    with client:
        assert client.closed_with() == (4001, "token_expired")
        assert time.time() < ends + 2 + watch.held_up_s


def test_other_raw_endpoints_take_none(keyed: ServerProcess) -> None:
    client, _ = enter(keyed, "x", "header", path="/anyone")
    with client:
        client.send_text("hi")
        assert client.read_message() == "[] hi"


def test_routes_that_ask_for_a_token(keyed: ServerProcess) -> None:
    offered = token(sub="42", tenant="acme", rooms=["r"])
    for request in (get("/me", f"Authorization: Bearer {offered}"), get(f"/me?token={offered}")):
        response = http(keyed, request)
        assert response.status == 200
        assert orjson.loads(response.body) == {"user": "42", "tenant": "acme", "rooms": ["r"]}
    for request in (get("/me"), get("/me?token=x"), get("/me", "Authorization: Bearer x")):
        response = http(keyed, request)
        assert response.status == 401
        assert response.headers["www-authenticate"].startswith("Bearer")
    assert http(keyed, get("/me", method="POST")).status == 405


def test_routes_with_auth_trust_nobody_without_a_key_but_under_dev() -> None:
    with ServerProcess(source=KEYED_APP) as server:
        assert http(server, get("/me")).status == 401
        assert http(server, upgrade("/whoami")).status == 401
    with ServerProcess("--dev", source=KEYED_APP) as server:
        assert orjson.loads(http(server, get("/me")).body)["user"] == ""
        with Talker(server) as client:
            client.upgrade("/whoami")
            client.send_text("hi")
            assert client.read_message() == "  default None None {} hi"
