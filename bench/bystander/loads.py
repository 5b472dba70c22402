"""The loads that bystanders have to bear: what others do to the server meanwhile.

Each is a context manager: the load has begun when the block is entered, goes on until it is left, and raises if clients
of the load were not served as they should be.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from bench import measure
from bench.build import BENCH
from bench.load import Load, LoadError
from bench.servers import Server

LONGEST_S = 7200.0  # a load that nobody ends is over then: the longest that the engine takes
END_TIMEOUT_S = 30.0
STORM_CONNECTIONS = 2000
SUBSCRIBERS = 9000
SPARE_DESCRIPTORS = 500
Options = dict[str, float | str | bool]
LoadFactory = Callable[[Server, set[int] | None], AbstractContextManager[object]]


@contextmanager
def engine(mode: str, server: Server, cpus: set[int] | None, options: Options) -> Iterator[Load]:
    """The load engine until the block is left.

    :raises LoadError: something failed in it, or not everybody was connected.
    """
    always: Options = {"path": server.path, "warmup": 0, "seconds": LONGEST_S, "until_stdin": True}
    with Load(mode, server.port, cpus=cpus, options=always | options) as load:
        connected = load.wait_connected()
        if connected < float(options["connections"]):
            load.release().check()
        yield load
        load.release().check()


@contextmanager
def crowd(kind: str, server: Server, cpus: set[int] | None, count: int) -> Iterator[None]:
    """A crowd of `bench.bystander.crowd` until the block is left.

    :raises LoadError: it could not begin or go on.
    """
    command = [sys.executable, "-m", "bench.bystander.crowd", kind, str(server.port), str(count)]
    with measure.on_cpus(cpus):
        process = subprocess.Popen(
            command,
            cwd=BENCH.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        output, errors = process.communicate(timeout=END_TIMEOUT_S)
        if process.returncode:
            raise LoadError(errors)
        json.loads(output)
    finally:
        process.kill()
        process.communicate(timeout=END_TIMEOUT_S)


def tiny_frames(server: Server, cpus: set[int] | None) -> AbstractContextManager[object]:
    """500 connections, 16 messages of 2 bytes on their way on each."""
    return engine("echo", server, cpus, {"connections": 500, "inflight": 16, "size": 2})


def busy_handlers(server: Server, cpus: set[int] | None) -> AbstractContextManager[object]:
    """The same to a handler that computes for 50 microseconds."""
    return engine("echo", server, cpus, {"connections": 500, "inflight": 16, "size": 2, "path": "/work"})


def fragments(server: Server, cpus: set[int] | None) -> AbstractContextManager[object]:
    """200 connections, 16 messages on their way on each, in fragments of 1 to 7 bytes."""
    return crowd("fragments", server, cpus, 200)


def half_open_heads(server: Server, cpus: set[int] | None) -> AbstractContextManager[object]:
    """4,000 requests that dribble in, and are begun again when the server gives them up."""
    return crowd("heads", server, cpus, 4000)


def fan_out(server: Server, cpus: set[int] | None, subscribers: int = SUBSCRIBERS) -> AbstractContextManager[object]:
    """One topic with 9,000 subscribers of the gateway, the next publication when all have the last one."""
    options: Options = {
        "connections": min(subscribers, measure.descriptor_limit() - SPARE_DESCRIPTORS),
        "size": 128,
        "path": "/ws",
        "text": True,
        "subscribe": '{"id":1,"cmd":"sub","topic":"bench"}',
        "publish": '{"cmd":"pub","topic":"bench","data":"{payload}"}',
    }
    return engine("fanout", server, cpus, options)


@contextmanager
def connect_storm(server: Server, cpus: set[int] | None, connections: int = STORM_CONNECTIONS) -> Iterator[None]:
    """2,000 upgrades as fast as they go, closed, and opened again; half of the storms end with resets."""
    over = threading.Event()
    failures: list[str] = []

    def blow() -> None:
        storms = 0
        while not over.is_set() and not failures:
            options: Options = {"path": "/echo", "connections": connections, "abrupt": storms % 2 == 1}
            try:
                with Load("connect", server.port, cpus=cpus, options=options) as load:
                    load.finish(60.0).check()
            except LoadError as error:
                failures.append(str(error))
            storms += 1

    thread = threading.Thread(target=blow)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if failures:
        raise LoadError(failures[0])


LOADS: dict[str, LoadFactory] = {
    "tiny frames": tiny_frames,
    "fragments": fragments,
    "fan-out": fan_out,
    "50 us handlers": busy_handlers,
    "connect storm": connect_storm,
    "half-open heads": half_open_heads,
}
