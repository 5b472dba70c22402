"""The gateway mounted in Starlette under uvicorn, in a process of its own: `python -m tests.asgi.uvicorn_process`.

The command line takes options of `fastws-server` and, as the last argument, the file of an application.
"""

from __future__ import annotations

import asyncio
import runpy
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import uvicorn
from starlette.applications import Starlette

from fastws import FastWS
from fastws.asgi import mount
from fastws.asgi.mounted import OF_THE_SERVER
from tests.support.server import ServerProcess

BACKLOG = 100


class Server(uvicorn.Server):
    """Ends well on TERM, where uvicorn kills itself with the signal once it has."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        signal.signal(signal.SIGTERM, self.handle_exit)
        yield


class MountedProcess(ServerProcess):
    """`ServerProcess` for tests that are written for that, where the paths are the same: it is mounted at the root."""

    def __init__(
        self, *options: str, app: str | None = None, source: str | None = None, env: dict[str, str] | None = None
    ) -> None:
        super().__init__(app=app, source=source, env=env)
        module = [self._command[-1].replace("tested_app:app", "tested_app.py")] if source is not None else []
        self._command = [sys.executable, "-m", "tests.asgi.uvicorn_process", *options, *module]


def settings_of(arguments: list[str]) -> dict[str, Any]:
    """`--max-topics 3 --dev` as keywords."""
    settings: dict[str, Any] = {}
    for number, argument in enumerate(arguments):
        if argument.startswith("--"):
            is_flag = number + 1 == len(arguments) or arguments[number + 1].startswith("--")
            settings[argument[2:].replace("-", "_")] = True if is_flag else arguments[number + 1]
    return {name: value for name, value in settings.items() if name not in OF_THE_SERVER}


def main(arguments: list[str]) -> None:
    file = arguments.pop() if arguments and arguments[-1].endswith(".py") else None
    app = runpy.run_path(file)["app"] if file is not None else FastWS()
    settings = settings_of(arguments)

    mounted = mount(app, **settings)
    if file is None:
        # What serves no application lets anonymous clients do everything on its own machine; a mounted one always is.
        mounted.settings = replace(mounted.settings, app=None)
    around = Starlette(lifespan=mounted.lifespan)
    around.mount("", mounted)
    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as sock:
        print(f"listening on http://127.0.0.1:{sock.getsockname()[1]}", flush=True)
        config = uvicorn.Config(around, log_level="warning", timeout_graceful_shutdown=2)
        asyncio.run(Server(config).serve(sockets=[sock]))


if __name__ == "__main__":
    main(sys.argv[1:])
