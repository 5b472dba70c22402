"""What a connection answers before and beside any handler; handlers' view of it is tested in test_raw.py."""

from __future__ import annotations

import os

from fastws.net.connection import Connection, connection_id
from fastws_ext.wire import Wire


def test_ids_are_of_this_process_and_its_numbers() -> None:
    assert connection_id(1) != connection_id(2)
    assert connection_id(255).endswith("-ff")
    assert len(connection_id(2**64 - 1)) <= 32
    assert connection_id(7) == connection_id(7)


def test_a_forked_child_has_ids_of_its_own() -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, connection_id(1).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    of_child = os.read(reader, 100).decode()
    os.close(reader)
    assert of_child.endswith("-1")
    assert of_child != connection_id(1)


def test_it_adds_nothing_to_the_wire() -> None:
    assert Connection.__basicsize__ == Wire.__basicsize__
    assert Connection.__dictoffset__ == 0
