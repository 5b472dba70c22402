"""The shim itself: what it is told to do is what the process under it meets, and nothing else."""

import errno
import os
import subprocess

import pytest

from tests.fastws_ext.harness import serving, until
from tests.support.frames import TEXT
from tests.torture.shim import CALLS, FATAL, HARMLESS, ONE, ROOT, Shim, library, prepared_shim
from tests.torture.under_shim import under_shim


def test_every_fault_is_of_a_call_that_there_is() -> None:
    assert set(HARMLESS) | set(FATAL) == set(CALLS)
    assert not [name for name in CALLS if set(HARMLESS.get(name, ())) & set(FATAL.get(name, ()))]


def test_it_is_made_once() -> None:
    assert library() == library()
    assert library().is_relative_to(ROOT / ".cache")


def test_it_does_nothing_unasked() -> None:
    with prepared_shim() as (environment, shim):
        done = subprocess.run(["true"], env={**os.environ, **environment}, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        assert [shim.count(name) for name in CALLS] == [0] * len(CALLS)


@under_shim
async def test_only_the_compiled_modules_are_hit(shim: Shim) -> None:
    """The client in the same process, and the loop, go on; and a forked child is never hit."""
    async with serving("reactor") as server:
        client = await server.connect()
        shim.weather({"recv": (1.0, (errno.EAGAIN,))})
        before = shim.count("recv")
        await client.send_frame(TEXT, b"hi")
        await until(lambda: shim.count("recv") > before + 3)
        assert client.heard_nothing()
        child = os.fork()
        if not child:
            os._exit(shim.count("recv") == 0)
        assert os.waitpid(child, 0)[1] == 0
        shim.calm()
        assert await client.read_message() == "hi"
        assert shim.tally["recv", errno.EAGAIN] > 3


@under_shim
async def test_one_call_of_many_is_hit(shim: Shim) -> None:
    async with serving("reactor") as server:
        client = await server.connect()
        shim.once("send", 2, errno.EPIPE)
        for number in range(2):
            await client.send_frame(TEXT, b"%d" % number)
            if not number:
                assert await client.read_message() == "0"
                assert not shim.met
        await server.all_closed()
        assert shim.met
        assert server.closes == [(1006, "")]
        port = client.socket.getsockname()[1]
        assert shim.broken(port)
        shim.mend(port)
        assert not shim.broken(port)


@under_shim
async def test_messages_are_whole_however_short_the_pieces(shim: Shim) -> None:
    async with serving("reactor") as server:
        client = await server.connect()
        shim.weather({"recv": (1.0, (ONE,)), "send": (1.0, (ONE,))})
        await client.send_frame(TEXT, b"short" * 100)
        assert await client.read_message() == "short" * 100
        assert shim.count("recv") > 500
        assert shim.count("send") > 500


@under_shim
async def test_a_connection_aborted_in_the_queue_is_reset(shim: Shim) -> None:
    async with serving("reactor") as server:
        shim.once("accept4", 1, errno.ECONNABORTED)
        with pytest.raises(ConnectionResetError):  # while it connects, or later
            await (await server.client()).receive()
        assert shim.met
        assert any(shim.broken(port) for port in range(1024, 65536))
        await server.connect()
