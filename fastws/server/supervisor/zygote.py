"""The process that workers are forked from: it imports everything, the application included, and does nothing else.

What it has imported is the same memory for all of them, as long as nobody writes there: so it collects garbage and
freezes what is left before the first fork. It has no loop, no thread and no connection, which would not survive one.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from fastws.app import FastWS
from fastws.config import Settings, load
from fastws.errors import StartupError
from fastws.observe import logs
from fastws.server import cli, loader
from fastws.server.supervisor.control import Channel, Message
from fastws_ext.shared import Board

_log: Final = logging.getLogger("fastws.supervisor")

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15
_ADOPTED_WITHIN_S: Final = 10.0
_OURS_TO_BEAR: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU)


@dataclass(frozen=True)
class Birth:
    """What a worker is told when it is forked."""

    worker: int
    """Its number, from 0."""
    slot: int
    """Of the board."""
    channel: Channel
    """To the supervisor."""
    listeners: list[socket.socket]
    admin: list[socket.socket]


class Zygote:
    """See the module. `serve` returns in the zygote with None, and in each worker with what it is to be."""

    def __init__(self, channel: Channel, supervisor: int) -> None:
        self._channel = channel
        self._supervisor = supervisor
        self.settings = Settings()
        self.app: FastWS | None = None

    def begin(self) -> bool:
        """Import everything. False: the supervisor is gone. Raises `StartupError`."""
        message = self._channel.receive()
        if message is None:
            return False
        fields = message.fields
        self.board = Board(message.descriptors[0])
        self.settings = replace(load(fields["given"]), **fields["kept"])
        logs.configure(self.settings)
        import_everything(self.settings)
        if self.settings.app is not None:
            self.app = loader.load_app(self.settings.app, self.settings.app_dir)
            _warn_of_threads(self.settings.app)
        settle_memory()
        return self._channel.send("loaded")

    def serve(self) -> Birth | None:
        """Fork workers until the supervisor hangs up."""
        while True:
            message = self._channel.receive()
            if message is None:
                return None
            if message.kind == "reopen":
                logs.reopen()
            elif message.kind == "fork":
                birth = self._fork(message)
                if birth is not None:
                    return birth

    def _fork(self, message: Message) -> Birth | None:
        """Fork twice: a child whose parent has ended belongs to the supervisor. Returns in the worker what it is.

        Where that fails the supervisor sees it by the channel, which nobody has any longer.
        """
        try:
            child = os.fork()
            if not child:
                if _fork_or_exit():
                    os._exit(0)
                return self._be_born(message)
            os.waitpid(child, 0)
        except OSError as error:
            _log.error("no worker can be forked: %s", error)
        for descriptor in message.descriptors:
            os.close(descriptor)
        return None

    def _be_born(self, message: Message) -> Birth:
        self._channel.close()
        end_with(self._supervisor)
        fields = message.fields
        _name_process(f"fastws-{fields['worker']}")
        channel, *sockets = message.descriptors
        adopted = [socket.socket(fileno=descriptor) for descriptor in sockets]
        return Birth(
            worker=fields["worker"],
            slot=fields["slot"],
            channel=Channel.adopt(channel, blocking=False),
            listeners=adopted[: fields["listeners"]],
            admin=adopted[fields["listeners"] :],
        )


def _fork_or_exit() -> int:
    try:
        return os.fork()
    except OSError as error:
        _log.error("no worker can be forked: %s", error)
        os._exit(1)


def end_with(supervisor: int, within_s: float = _ADOPTED_WITHIN_S) -> None:
    """Belong to the supervisor, and be killed when it ends (prctl(2), PR_SET_PDEATHSIG). Exits if it has ended, which
    is so if it is not the parent `within_s` seconds from now.
    """
    deadline = time.monotonic() + within_s
    while os.getppid() != supervisor and time.monotonic() < deadline:
        time.sleep(0.001)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != supervisor:
        os._exit(1)


def _name_process(name: str) -> None:
    """What tools such as top and ps call it; 15 letters."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode("ascii"))


def import_everything(settings: Settings) -> None:
    """Import what a worker will need, before there are any."""
    from fastws.server.supervisor import member  # noqa: F401, PLC0415
    from fastws.server.worker import loop_factory  # noqa: PLC0415

    loop_factory()
    if settings.admin_port >= 0:
        from fastws.observe.admin import floor, guard, methods, server  # noqa: F401, PLC0415
    if settings.redis != "none":
        from fastws.engine.redis import engine  # noqa: F401, PLC0415
        from fastws.engine.redis.backbone import making  # noqa: F401, PLC0415
        from fastws.server.engines import facts  # noqa: F401, PLC0415
    if settings.dev:
        from importlib.resources import readers  # noqa: F401, PLC0415


def settle_memory() -> None:
    """Take what is there now for what will stay, and have workers write to as little of it as can be."""
    gc.collect()
    gc.freeze()
    if sys.version_info < (3, 12):
        # The interpreter's cache of attributes counts references to their names, all over the memory, and a worker that
        # finds it full writes to each one that it replaces: 0.6 MB of its own. Later versions do not count these.
        sys._clear_type_cache()


def _warn_of_threads(app: str) -> None:
    names = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    others = len(list(Path("/proc/self/task").iterdir())) - 1 - len(names)
    if others > 0:
        names.append(f"{others} that {'is' if others == 1 else 'are'} not of Python")
    if names:
        _log.warning(
            "importing %s has started threads, which workers will not have, and locks that they hold stay locked: %s; "
            "start them in @app.on_startup",
            app,
            ", ".join(names),
        )


def _ignore(number: int, frame: Any) -> None:
    """The supervisor gets these signals too, if they went to a group of processes, and says what is to be done."""


def main(descriptor: int, supervisor: int) -> None:
    """Run in a fresh interpreter, by the supervisor with this process id; ends with `SystemExit`."""
    for number in _OURS_TO_BEAR:
        # A handler and not SIG_IGN, which programs started from here would inherit.
        signal.signal(number, _ignore)
    end_with(supervisor)
    _name_process("fastws-zygote")
    zygote = Zygote(Channel.adopt(descriptor, blocking=True), supervisor)
    try:
        birth = zygote.serve() if zygote.begin() else None
    except StartupError as error:
        sys.exit(cli.report(error))
    if birth is None:
        sys.exit(0)
    from fastws.server.supervisor import member  # noqa: PLC0415

    sys.exit(member.run(zygote.settings, zygote.app, birth, zygote.board))
