"""--min-replicas, as clients and back ends see it: a Redis without a replica, and then with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.contract.talking import Talker
from tests.server.test_two_nodes import node, user
from tests.server.test_worker_admin import ask, done
from tests.support.redis import RedisServer
from tests.support.waiting import wait_until


def test_what_no_replica_has_is_refused_and_may_be_repeated(tmp_path: Path) -> None:
    with (
        RedisServer() as redis,
        node(redis.url, "a", tmp_path, "--min-replicas", "1", "--replica-timeout", "50ms") as a,
    ):
        wait_until(lambda: "has 0 of the 1 replicas that --min-replicas asks for" in a.stderr())
        with user(a, "ann") as ann:
            ann.ask("sub", topic="chat:x")
            ann.say("pub", id=7, topic="chat:x", data=1, key="k")
            said = sorted((ann.hear() for _ in range(2)), key=lambda each: "id" in each)
            assert said[0]["data"] == 1, "it is heard at once"
            assert said[1]["error"]["code"] == 113
            assert said[1]["error"]["temporary"] is True
            assert "with the same key it may be repeated" in said[1]["error"]["message"]
            status, answer = ask(a, "/api/publish", {"topic": "chat:x", "data": 2}, Idempotency_Key="i")
            assert (status, answer["error"]["code"]) == (503, 113)
            assert "0 of 1 replicas" in answer["error"]["message"]
            assert ann.hear()["data"] == 2
            assert done(a, "publish", topic="news", data=1)["duplicate"] is False, "which nobody stores"
            with RedisServer("--replicaof", "127.0.0.1", str(redis.port)):
                wait_until(
                    lambda: ask(a, "/api/publish", {"topic": "chat:x", "data": 2}, Idempotency_Key="i")[0] == 200,
                    30.0,
                    "the replica has it",
                )
                again = wait_until(lambda: _published(ann, "k"), 30.0, "it has that, too")
                assert (again["offset"], again["duplicate"]) == (1, True)
                assert [entry["data"] for entry in done(a, "history", topic="chat:x")["publications"]] == [1, 2]


def _published(client: Talker, key: str) -> Any:
    """The result, or None."""
    answer = client.ask("pub", topic="chat:x", data=1, key=key)
    assert answer == 113 or isinstance(answer, dict)
    return None if answer == 113 else answer
