"""Conversations: what clients say to a server and hear from it, line by line.

    -> {"id":1,"cmd":"ping"}              said by the only client
    <- {"id":1,"result":{"ts":1}}         the next thing that it hears
    ann -> {"cmd":"pub", …}               with a name where there are several; an object may go on in the next lines
    ben closed 4503 kicked                the server closes the connection
    ben closes                            the client does; what it says later comes over a new connection

A client connects when it is first named (`ann connects` alone does it too). Its welcome needs no line.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec

from tests.docs.matching import Names
from tests.docs.pages import Block
from tests.support.frames import BINARY, CLOSE, TEXT, Frame
from tests.support.raw_client import RawClient

_LINE = re.compile(r"^(?:(\w+) +)?(->|<-) (.*)$")
_EVENT = re.compile(r"^(?:(\w+) +)?(closes|connects|closed (\d+)(?: (.*))?)$")


class Line(NamedTuple):
    """One step of a conversation."""

    number: int
    client: str
    kind: str
    """`->`, `<-`, `closes`, `connects` or `closed`."""
    text: str = ""
    code: int = 0


class Member(RawClient):
    """A client of the protocol, in either codec."""

    codec = "json"
    is_new = False
    """It may hear a welcome that the page does not show."""

    def say(self, text: str, names: Names) -> None:
        """Send an object, or a text that is none as it is."""
        content = names.translated(json.loads(text)) if text.startswith("{") else text
        if self.codec == "json":
            self.send_text(content if isinstance(content, str) else json.dumps(content))
        else:
            self.send_frame(BINARY, msgspec.msgpack.encode(content))

    def hear(self) -> Any:
        """The next object, or a text that is none."""
        return said_in(self.read_frame())

    def hear_the_end(self) -> tuple[int, str]:
        """How the server closes."""
        frame = self.read_frame()
        if self.is_new and frame.opcode != CLOSE and is_welcome(said_in(frame)):
            frame = self.read_frame()
        assert frame.opcode == CLOSE, frame
        return frame.close_code, frame.close_reason


def said_in(frame: Frame) -> Any:
    """The object of a frame, or a text that is none."""
    assert frame.opcode in (TEXT, BINARY), frame
    if frame.opcode == BINARY:
        return msgspec.msgpack.decode(frame.payload)
    text = frame.payload.decode()
    return json.loads(text) if text.startswith("{") else text


def is_welcome(said: Any) -> bool:
    """Whether it is what servers say first, which talks need not show."""
    return isinstance(said, dict) and said.get("event") == "welcome"


def lines(block: Block) -> Iterator[Line]:
    """The steps of a block.

    :raises AssertionError: a line is none.
    """
    pending: list[Any] = []
    for number, text in enumerate(block.text.splitlines(), block.line + 1):
        if pending and text.startswith(" "):
            pending[3] += text.strip()
            continue
        if pending:
            yield Line(*pending)
            pending = []
        if said := _LINE.match(text):
            pending = [number, said[1] or "", said[2], said[3].strip()]
        elif event := _EVENT.match(text):
            kind = event[2].split(" ")[0]
            yield Line(number, event[1] or "", kind, event[4] or "", int(event[3] or 0))
        else:
            assert not text.strip() or text.startswith("#"), f"{block.page}:{number}: {text!r} is no line of a talk"
    if pending:
        yield Line(*pending)


class Talk:
    """Everybody who talks on a page, until its server is another one."""

    def __init__(self, connect: Callable[[str], Member], names: Names) -> None:
        self._connect = connect
        self._names = names
        self.members: dict[str, Member] = {}

    def run(self, block: Block) -> None:
        """Go through a block.

        :raises AssertionError: somebody heard something else than what the page shows; the message names the line.
        """
        for line in lines(block):
            try:
                self._step(line)
            except (AssertionError, OSError, EOFError, ValueError) as error:
                raise AssertionError(f"{block.page}:{line.number}: {error}") from error

    def _step(self, line: Line) -> None:
        if line.kind == "closes":
            member = self.members.pop(line.client)
            member.send_close(1000)
            member.ending()
            member.close()
            return
        member = self.members.get(line.client) or self._enter(line)
        if line.kind == "->":
            member.say(line.text, self._names)
        elif line.kind == "<-":
            shown = json.loads(line.text) if line.text.startswith("{") else line.text
            said = member.hear()
            if member.is_new and is_welcome(said):
                said = member.hear()
            member.is_new = False
            self._names.match(shown, said)
        elif line.kind == "closed":
            code, reason = member.hear_the_end()
            assert (code, reason) == (line.code, line.text), f"closed {code} {reason}"
            member.send_close(code)
            member.ending()
            self.members.pop(line.client).close()

    def _enter(self, line: Line) -> Member:
        member = self.members[line.client] = self._connect(line.client)
        if line.kind == "connects":
            said = member.hear()
            assert is_welcome(said), said
        else:
            member.is_new = '"welcome"' not in line.text
        return member

    def close(self) -> None:
        """Everybody goes."""
        for member in self.members.values():
            member.close()
        self.members.clear()
