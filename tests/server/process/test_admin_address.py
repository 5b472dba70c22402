"""The address for operators: a port that is taken, and what to do about it."""

from __future__ import annotations

import pytest

from fastws.errors import StartError
from fastws.server.process.admin_address import bind_admin, of_admin_address


def test_what_is_wrong_and_what_helps() -> None:
    (first,) = bind_admin("127.0.0.1", 0)
    with first:
        first.listen()
        with pytest.raises(StartError, match=r"^the admin address: .*in use; --admin-port takes another port"):
            bind_admin("127.0.0.1", first.getsockname()[1])


def test_what_another_port_would_not_help() -> None:
    with pytest.raises(StartError, match=r"^the admin address: cannot listen on no\.such\.host\.invalid[^;]*$"):
        bind_admin("no.such.host.invalid", 0)
    assert str(of_admin_address(StartError("no"))) == "the admin address: no"
