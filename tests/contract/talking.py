"""A client of the protocol that says commands and hears answers, over a raw socket."""

from __future__ import annotations

import itertools
from typing import Any, Self

import msgspec

from tests.support.frames import BINARY, CLOSE, Frame
from tests.support.raw_client import RawClient, Response
from tests.support.server import ServerProcess

JSON = "fastws.json.v1"
MSGPACK = "fastws.msgpack.v1"


class Talker(RawClient):
    """A connection to the gateway. `welcome` is its first frame."""

    def __init__(self, server: ServerProcess, subprotocol: str = JSON, **options: Any) -> None:
        super().__init__(server.host, server.port, **options)
        self.subprotocol = subprotocol
        self.numbers = itertools.count(1)
        self.welcome: dict[str, Any] = {}

    @classmethod
    def welcomed(cls, server: ServerProcess, subprotocol: str = JSON, path: str = "/ws", **options: Any) -> Self:
        """Connect and take the welcome."""
        client = cls(server, subprotocol, **options)
        try:
            client.upgrade(path, [("Sec-WebSocket-Protocol", subprotocol)])
            client.welcome = client.hear()
            assert client.welcome["event"] == "welcome", client.welcome
        except BaseException:
            client.close()
            raise
        return client

    def say(self, cmd: str, **fields: Any) -> None:
        """Send one command."""
        command = {"cmd": cmd, **fields}
        if self.subprotocol == JSON:
            self.send_json(command)
        else:
            self.send_frame(BINARY, msgspec.msgpack.encode(command))

    def hear(self) -> Any:
        """One object from the server."""
        message = self.read_message()
        if self.subprotocol == JSON:
            assert isinstance(message, str)
            return msgspec.json.decode(message)
        assert isinstance(message, bytes)
        return msgspec.msgpack.decode(message)

    def ask(self, cmd: str, **fields: Any) -> Any:
        """Send a command and return its result, or the code of the error; nothing else may come in between."""
        number = next(self.numbers)
        self.say(cmd, id=number, **fields)
        answer = self.hear()
        assert answer["id"] == number, answer
        return answer["error"]["code"] if "error" in answer else answer["result"]

    def closed_with(self) -> tuple[int, str]:
        """The server closes: answer, and see it end the connection. Its code and reason."""
        closed = self.read_close()
        self.send_close(closed[0])
        assert self.ending() == "fin"
        return closed

    def frames_until_close(self) -> list[Frame]:
        """Every frame up to the server's close frame, that one included."""
        frames = [self.read_frame()]
        while frames[-1].opcode != CLOSE:
            frames.append(self.read_frame())
        return frames


def http(server: ServerProcess, request: bytes, source: str | None = None) -> Response:
    """Send a request as it is; return the answer, after which the server has to end the connection."""
    with RawClient(server.host, server.port, source=source) as client:
        client.send(request)
        response = client.read_response()
        assert client.ending() == "fin"
        return response


def get(path: str = "/ws", *headers: str, method: str = "GET", version: str = "1.1", body: bytes = b"") -> bytes:
    """A plain request."""
    return "\r\n".join([f"{method} {path} HTTP/{version}", "Host: a", *headers, "", ""]).encode("latin-1") + body


def upgrade(path: str = "/ws", *headers: str, **replaced: str | None) -> bytes:
    """An upgrade; `replaced` sets, or with None leaves out, one of the usual headers."""
    usual: dict[str, str | None] = {
        "host": "a",
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ==",
        "sec_websocket_version": "13",
    }
    assert replaced.keys() <= usual.keys()
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in (usual | replaced).items() if value is not None]
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, *headers, "", ""]).encode("latin-1")
