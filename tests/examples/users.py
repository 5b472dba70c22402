"""A user of an example: the client `websockets`, unchanged."""

import itertools
import json
from contextlib import ExitStack
from typing import Any, Self

from websockets.sync.client import connect

from tests.support.server import ROOT, ServerProcess

EXAMPLES = ROOT / "examples"
PATIENCE_S = 30.0


def example(name: str, *options: str, folder: str = "", env: dict[str, str] | None = None) -> ServerProcess:
    """Serve `examples/NAME.py`, or the module NAME of a folder there."""
    return ServerProcess("--app-dir", str(EXAMPLES / folder), *options, app=f"{name}:app", env=env)


class User:
    """One connection to a gateway."""

    def __init__(self, server: ServerProcess, token: str = "", *, is_stranger: bool = False) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._ends = ExitStack()
        self._socket = self._ends.enter_context(
            connect(server.url(), subprotocols=["fastws.json.v1"], additional_headers=headers, proxy=None)
        )
        self._ids = itertools.count(1)
        self._pushes: list[dict[str, Any]] = []
        try:
            self.welcome = {} if is_stranger else self.expect("welcome")
        except BaseException:
            self.close()
            raise

    def ask(self, cmd: str, **fields: Any) -> dict[str, Any]:
        """Send a command; its result or error."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "cmd": cmd, **fields}))
        while "id" not in (said := self._hear()):
            self._pushes.append(said)
        assert said["id"] == number
        answer: dict[str, Any] = said.get("result") or said.get("error") or {}
        return answer

    def expect(self, event: str) -> dict[str, Any]:
        """The next push of a kind; those of other kinds are kept."""
        kept = next((push for push in self._pushes if push["event"] == event), None)
        if kept is not None:
            self._pushes.remove(kept)
            return kept
        while (said := self._hear())["event"] != event:
            self._pushes.append(said)
        return said

    def _hear(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self._socket.recv(timeout=PATIENCE_S))
        return said

    def close(self) -> None:
        """Leave."""
        self._ends.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
