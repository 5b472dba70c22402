"""The example fastapi_mount.py."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.examples.users import EXAMPLES, User
from tests.support.server import ROOT
from tests.support.waiting import wait_until


class Served:
    """Where uvicorn listens, as `User` wants to know it."""

    def __init__(self, port: int) -> None:
        self.port = port

    def url(self, path: str = "/realtime/ws", scheme: str = "ws") -> str:
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def ask(self, method: str, path: str) -> Any:
        request = urllib.request.Request(self.url(path, "http"), method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


@contextmanager
def uvicorn_serving(module: str) -> Iterator[Served]:
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(EXAMPLES), "--port", "0", f"{module}:api"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        lines: list[str] = []
        for line in process.stderr:
            lines.append(line)
            if "Uvicorn running on http://127.0.0.1:" in line:
                break
        assert lines, process.wait()
        assert "Uvicorn running" in lines[-1], lines
        yield Served(int(lines[-1].split("127.0.0.1:")[1].split()[0]))
        process.terminate()
        assert wait_until(lambda: process.poll() is not None), "uvicorn does not end"
    finally:
        process.kill()
        process.communicate()


def test_what_the_api_adds_is_heard_of() -> None:
    with uvicorn_serving("fastapi_mount") as server, User(server) as client:  # type: ignore[arg-type]
        first = client.ask("sub", topic="todo:all")
        assert server.ask("POST", "/todos?text=milk") == {"number": 1}
        assert client.expect("publication")["data"] == {"added": 1, "text": "milk"}
        assert client.ask("pub", topic="todo:all", data=1)["code"] == 103
        assert client.ask("rpc", method="todos")["data"] == {"1": "milk"}
        with User(server) as late:  # type: ignore[arg-type]
            back = late.ask("sub", topic="todo:all", recover={"epoch": first["epoch"], "offset": 0})
            assert [publication["offset"] for publication in back["publications"]] == [1]
        assert server.ask("GET", "/todos") == {"1": "milk"}
