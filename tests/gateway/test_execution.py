"""What messages are taken for, replies and errors, batches, limits per second."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import msgspec
import pytest

from fastws import FastWS
from fastws.core.codecs.commands import Lines
from fastws.core.codecs.json_text import decode_line
from fastws.gateway.commands.keeping import Keeping
from fastws.gateway.execution import LINES_PER_TURN
from tests.gateway.commands.test_common import LateEngine
from tests.gateway.stage import JSON, MSGPACK, staged

pytestmark = pytest.mark.asyncio

both_codecs = pytest.mark.parametrize("codec", [JSON, MSGPACK])
DEEP = 100_000


@both_codecs
@pytest.mark.parametrize("reply_id", [0, 1, -(2**63), 2**63 - 1, "", "x" * 64, "ä" * 32])
async def test_ids_come_back_as_they_were(codec: str, reply_id: Any) -> None:
    async with staged() as stage:
        player = stage.connect(subprotocol=codec)
        player.say({"id": reply_id, "cmd": "unsub", "topic": "t"}, {"id": reply_id, "cmd": "nope"})
        succeeded, failed = player.hear()
        assert succeeded == {"id": reply_id, "result": {}}
        assert failed["id"] == reply_id
        assert type(failed["id"]) is type(reply_id)


@both_codecs
@pytest.mark.parametrize("reply_id", [1.5, 1.0, True, [1], {"a": 1}, 2**63, "x" * 65, "ä" * 33])
async def test_other_ids_are_wrong(codec: str, reply_id: Any) -> None:
    async with staged() as stage:
        player = stage.connect(subprotocol=codec)
        for cmd in ("ping", "nope", "send"):
            player.say({"id": reply_id, "cmd": cmd})
            answer = player.hear_one()
            assert answer["event"] == "error"
            assert answer["cmd"] == cmd
            assert answer["error"]["code"] == 107


async def test_an_id_of_null_is_none() -> None:
    async with staged() as stage:
        player = stage.connect()
        player.say({"id": None, "cmd": "ping"}, {"id": None, "cmd": "nope"})
        assert player.hear_one()["event"] == "error"


@both_codecs
async def test_errors_have_their_whole_shape(codec: str) -> None:
    async with staged() as stage:
        player = stage.connect(subprotocol=codec)
        player.say({"cmd": "nope"}, {"cmd": "sub"}, {"id": 1, "cmd": "sub", "topic": 5}, {"id": 2, "cmd": "sync"})
        unknown, without_topic, wrong_topic, not_built = player.hear()
        assert unknown == {
            "event": "error",
            "cmd": "nope",
            "error": {
                "code": 104,
                "reason": "unknown_command",
                "message": "there is no such command",
                "temporary": False,
            },
        }
        assert (without_topic["cmd"], without_topic["error"]["code"]) == ("sub", 107)
        assert (wrong_topic["id"], wrong_topic["error"]["code"]) == (1, 107)
        assert "topic" in wrong_topic["error"]["message"]
        assert (not_built["error"]["code"], not_built["error"]["reason"]) == (108, "not_available")


@both_codecs
@pytest.mark.parametrize("content", [{}, {"id": 1}, {"cmd": 5}, {"cmd": None}, {"cmd": ["sub"]}, {"type": "other"}])
async def test_a_missing_or_strange_cmd_is_wrong(codec: str, content: dict[str, Any]) -> None:
    async with staged() as stage:
        player = stage.connect(subprotocol=codec)
        player.say(content)
        answer = player.hear_one()
        assert answer["error"]["code"] == 107
        assert "cmd" not in answer
        assert answer.get("id") == content.get("id")
        assert player.closed is None


async def test_names_are_case_sensitive_and_unknown_fields_ignored() -> None:
    async with staged() as stage:
        player = stage.connect()
        assert player.ask("Ping") == 104
        assert player.ask("ping", other=[1, {"a": None}]).keys() == {"ts"}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "[1]", "5", '"PING"', "null", "ping", "PING ", "{} {}", "[" * DEEP, '{"a":' * 2000, '{"a":NaN}'],
)
async def test_text_that_is_no_object_closes(text: str) -> None:
    async with staged(max_message_size=1 << 20) as stage:
        player = stage.connect()
        player.say_text(text)
        assert player.hear() == []
        assert player.closed == (4501, "bad_request")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x93\x01\x02\x03",
        b"\xa4PING",
        b"\x80\x80",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdc\xff\xff" * 1000,
        b"\x91" * DEEP,
        b"\x81\xa1a" * 2000,
        b"\x81\xa1\xff\x01",
        b"{}",
        msgspec.msgpack.encode(5),
    ],
)
async def test_binary_that_is_no_map_closes(data: bytes) -> None:
    async with staged(max_message_size=1 << 20) as stage:
        player = stage.connect(subprotocol=MSGPACK)
        player.say_bytes(data)
        assert player.hear() == []
        assert player.closed == (4501, "bad_request")


async def test_the_wrong_kind_of_frame_closes() -> None:
    async with staged() as stage:
        for codec in (JSON, MSGPACK):
            player = stage.connect(subprotocol=codec)
            content = b'{"cmd":"ping"}'
            player.say_bytes(content) if codec == JSON else player.say_text(content.decode())
            player.hear()
            assert player.closed == (1003, "unsupported")


class TestBatches:
    """Several lines in one frame."""

    async def test_they_run_in_order_each_answered_in_a_frame_of_its_own(self) -> None:
        async with staged() as stage:
            player = stage.connect()
            player.say_text('\n{"cmd":"sub","topic":"t","id":1}\r\n \n{"cmd":"nope","id":2}\n\n{"cmd":"ping","id":3}\n')
            assert [answer["id"] for answer in player.hear()] == [1, 2, 3]

    @pytest.mark.parametrize("bad", ["{", "5", "PING", "[]", "nonsense", '{"a":1e999}}'])
    async def test_up_to_the_first_malformed_line(self, bad: str) -> None:
        async with staged() as stage:
            player = stage.connect()
            player.say_text(f'{{"cmd":"ping","id":1}}\n{bad}\n{{"cmd":"ping","id":2}}')
            assert [answer["id"] for answer in player.hear()] == [1]
            assert player.closed == (4501, "bad_request")

    async def test_a_faulty_object_is_no_malformed_line(self) -> None:
        async with staged() as stage:
            player = stage.connect()
            player.say_text('{"cmd":5}\n{"a":1e999}\n{"type":"HEARTBEAT"}\n{"cmd":"ping","id":2}')
            assert len(player.hear()) == 4
            assert player.closed is None

    async def test_one_object_may_span_lines(self) -> None:
        async with staged() as stage:
            player = stage.connect()
            player.say_text(json.dumps({"cmd": "ping", "id": 1}, indent=2) + "\n")
            assert player.hear_one()["id"] == 1

    async def test_blank_lines_alone_are_nothing(self) -> None:
        async with staged() as stage:
            player = stage.connect()
            player.say_text("\n\n \n")
            assert player.ask("ping")

    async def test_others_have_their_turn_between_many(self) -> None:
        async with staged() as stage:
            player = stage.connect()
            player.say_text("\n".join(f'{{"cmd":"ping","id":{number}}}' for number in range(1000)))
            player.say({"cmd": "ping", "id": 1000})
            answers = player.hear()
            assert len(answers) == LINES_PER_TURN
            while len(answers) < 1001:
                await asyncio.sleep(0)
                heard = player.hear()
                assert len(heard) <= LINES_PER_TURN + 1
                answers += heard
            assert [answer["id"] for answer in answers] == list(range(1001))
            await stage.settle()
            assert player.conn.session.work is None

    async def test_lines_that_take_long_give_way(self) -> None:
        app = FastWS()
        app.rpc("work")(lambda conn, data: {"slept": time.sleep(0.001)})
        async with staged(app) as stage:
            stage.gateway._execution.turn_s = 0.002
            player = stage.connect()
            player.say_text("\n".join(json.dumps({"id": n, "cmd": "rpc", "method": "work"}) for n in range(9)))
            answers: list[Any] = []
            while len(answers) < 9:
                heard = player.hear()
                assert len(heard) <= 3
                answers += heard
                await asyncio.sleep(0)
            assert [answer["id"] for answer in answers] == list(range(9))

    async def test_what_waited_and_takes_long_gives_way(self) -> None:
        app = FastWS()
        gone_on = asyncio.Event()

        @app.rpc("wait")
        async def wait(conn: Any, data: Any) -> None:
            await gone_on.wait()

        app.rpc("work")(lambda conn, data: {"slept": time.sleep(0.001)})
        async with staged(app) as stage:
            stage.gateway._execution.turn_s = 0.002
            player = stage.connect()
            player.say({"id": 0, "cmd": "rpc", "method": "wait"})
            player.say(*({"id": n, "cmd": "rpc", "method": "work"} for n in range(1, 10)))
            gone_on.set()
            answers: list[Any] = []
            while len(answers) < 10:
                await asyncio.sleep(0)
                heard = player.hear()
                assert len(heard) <= 5
                answers += heard
            assert [answer["id"] for answer in answers] == list(range(10))
            await stage.settle()
            assert player.conn.session.work is None

    async def test_many_lines_end_with_the_connection(self) -> None:
        async with staged() as stage:
            player = stage.connect()
            player.say_text('{"cmd":"sub","topic":"t"}\n' * 1000)
            player.vanish()
            await stage.settle()
            assert stage.gateway.tasks == set()
            assert stage.hub.topics == {}

    async def test_lines_that_each_wait_cost_what_they_are(self) -> None:
        """What is left is not copied each time: twice as many lines take twice as many steps, not four times."""
        engine = LateEngine()
        engine.gate.set()
        async with staged(engine=engine) as stage:
            player = stage.connect()
            texts = ['{"cmd":"pub","topic":"t","data":1}'] * 300
            rest = Lines(texts, decode_line)
            stage.gateway._execution._run(player.conn, player.conn.session, rest)
            assert player.conn.session.work.waiting[0] is rest
            assert rest.texts is texts
            while player.conn.session.work is not None:
                await asyncio.sleep(0)
            assert rest.done == 300
            assert (await stage.app.history("t", limit=0)).offset == 300

    async def test_messagepack_has_none(self) -> None:
        async with staged() as stage:
            player = stage.connect(subprotocol=MSGPACK)
            one = msgspec.msgpack.encode({"cmd": "ping", "id": 1})
            player.say_bytes(one + b"\n" + one)
            assert player.hear() == []
            assert player.closed == (4501, "bad_request")

    async def test_nothing_runs_after_a_line_that_closes(self) -> None:
        async with staged() as stage:
            player = stage.connect()
            player.say_text('{"cmd":"auth","token":"x","id":1}\n{"cmd":"ping","id":2}')
            assert [answer["id"] for answer in player.hear()] == [1]


class TestHandMade:
    """The forms of hand-made clients."""

    async def test_ping(self) -> None:
        async with staged() as stage:
            player = stage.connect()
            player.say_text("PING")
            assert [(frame.opcode, frame.payload) for frame in player.frames()] == [(1, b"PONG")]

    async def test_heartbeat(self) -> None:
        async with staged() as stage:
            player = stage.connect()
            said = {"type": "HEARTBEAT", "timestamp": 1717024000, "more": [1, None, {"b": "ä"}]}
            player.say(said)
            answer = player.hear_one()
            assert isinstance(answer.pop("server"), int)
            assert answer == said

    async def test_heartbeat_with_what_cannot_be_said_again(self) -> None:
        async with staged() as stage:
            player = stage.connect()
            player.say_text('{"type":"HEARTBEAT","n":18446744073709551616}')
            assert player.hear_one()["error"]["code"] == 107

    async def test_they_are_no_forms_of_messagepack(self) -> None:
        async with staged() as stage:
            player = stage.connect(subprotocol=MSGPACK)
            player.say({"type": "HEARTBEAT"})
            assert player.hear_one()["error"]["code"] == 107


async def test_an_exception_in_a_command_answers_and_the_connection_stays(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_arguments: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(Keeping, "ping", fails)
    async with staged() as stage:
        player = stage.connect()
        player.say({"id": 1, "cmd": "ping"})
        answer = player.hear_one()
        assert (answer["error"]["code"], answer["error"]["temporary"]) == (100, True)
        assert "secret" not in json.dumps(answer)
        assert "secret detail" in caplog.text
        assert player.ask("unsub", topic="t") == {}


async def test_commands_are_counted_by_names_of_ours() -> None:
    async with staged() as stage:
        player = stage.connect()
        player.say({"cmd": "ping"}, {"cmd": "ping"}, {"cmd": "made-up"}, {"cmd": "sub"}, {})
        assert stage.gateway.commands == {("ping", 0): 2, ("", 104): 1, ("sub", 107): 1, ("", 107): 1}


class TestRates:
    """Limits per second."""

    async def test_a_command_over_the_limit_is_not_executed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with staged(messages_per_second=2) as stage:
            now = stage.gateway._loop.time()
            monkeypatch.setattr(stage.gateway._loop, "time", lambda: now)
            player = stage.connect()
            player.say_text('{"cmd":"ping","id":1}\n{"cmd":"sub","topic":"t","id":2}\n{"cmd":"sub","topic":"u","id":3}')
            player.say({"cmd": "nope"})
            answers = player.hear()
            assert [answer.get("id") for answer in answers] == [1, 2, 3, None]
            assert [answer["error"]["code"] for answer in answers[2:]] == [111, 111]
            assert answers[2]["error"]["temporary"] is True
            assert player.conn.topics == ("t",)
            now += 0.5
            assert player.ask("ping")
            assert player.ask("ping") == 111

    async def test_a_hundred_refusals_close(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with staged(messages_per_second=1) as stage:
            now = stage.gateway._loop.time()
            monkeypatch.setattr(stage.gateway._loop, "time", lambda: now)
            player = stage.connect()
            player.say_text("PING")
            for _ in range(99):
                player.say_text("PING")
            assert player.conn.phase == 1
            player.say({"cmd": "ping"})
            assert len(player.frames()) == 102
            assert player.conn.close_code == 4005

    async def test_bytes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with staged(bytes_per_second=100) as stage:
            now = stage.gateway._loop.time()
            monkeypatch.setattr(stage.gateway._loop, "time", lambda: now)
            for codec in (JSON, MSGPACK):
                player = stage.connect(subprotocol=codec)
                assert player.ask("pub", topic="t", data="ä" * 15) != 111
                assert player.ask("pub", topic="t", data="ä" * 20) == 111

    async def test_malformed_messages_close_all_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with staged(messages_per_second=1) as stage:
            now = stage.gateway._loop.time()
            monkeypatch.setattr(stage.gateway._loop, "time", lambda: now)
            player = stage.connect()
            player.ask("ping")
            player.say_text("nonsense")
            player.hear()
            assert player.closed == (4501, "bad_request")

    async def test_hooks_come_first_and_limits_stay(self) -> None:
        app = FastWS()
        app.on_connect(lambda conn: None)
        async with staged(app, messages_per_second=1) as stage:
            player = stage.connect()
            player.ask("ping")
            assert player.ask("ping") == 111
