"""Messages between processes of one server."""

from __future__ import annotations

import os

import pytest

from fastws.server.supervisor.control import Channel


def test_what_is_said_is_heard_with_its_descriptors() -> None:
    ours, theirs = Channel.pair()
    read, write = os.pipe()
    assert ours.send("fork", [write], worker=3, names=["a", "b"])
    assert ours.send("reopen")
    message = theirs.receive()
    assert message is not None
    assert (message.kind, message.fields) == ("fork", {"worker": 3, "names": ["a", "b"]})
    (copy,) = message.descriptors
    assert copy != write
    assert not os.get_inheritable(copy)
    os.write(copy, b"x")
    assert os.read(read, 1) == b"x"
    message = theirs.receive()
    assert message is not None
    assert (message.kind, message.fields, message.descriptors) == ("reopen", {}, [])
    for descriptor in (read, write, copy):
        os.close(descriptor)
    ours.close()
    theirs.close()
    assert ours.fileno() == -1


def test_the_end() -> None:
    ours, theirs = Channel.pair()
    with pytest.raises(BlockingIOError):
        ours.receive()
    theirs.close()
    assert ours.receive() is None
    assert not ours.send("anything")
    ours.close()


def test_somebody_who_does_not_listen_blocks_nobody() -> None:
    ours, theirs = Channel.pair()
    while ours.send("text", text="x" * 1000):
        pass
    ours.close()
    adopted = Channel.adopt(os.dup(theirs.fileno()), blocking=False)
    theirs.close()
    count = 0
    while adopted.receive() is not None:
        count += 1
    assert count > 10
    adopted.close()
