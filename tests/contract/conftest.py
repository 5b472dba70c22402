"""Servers that several modules of the contract's tests talk to."""

from collections.abc import Iterator

import pytest

from tests.contract.serving import APP, SECRET
from tests.support.server import ServerProcess


@pytest.fixture(scope="session")
def gateway() -> Iterator[ServerProcess]:
    """The application of `serving`, where everybody is anonymous."""
    with ServerProcess("--max-topics", "3", "--max-outbox", "300000", "--node-name", "n1", source=APP) as process:
        yield process


@pytest.fixture(scope="session")
def hasty() -> Iterator[ServerProcess]:
    """One that has patience for nothing: five commands a second, and silence for as long."""
    options = ("--messages-per-second", "5", "--ping-interval", "0.5", "--ping-timeout", "0.5")
    with ServerProcess(*options) as process:
        yield process


@pytest.fixture(scope="session")
def guarded() -> Iterator[ServerProcess]:
    """The same application, where nobody is."""
    options = ("--jwt-secret", SECRET, "--auth-timeout", "1", "--node-name", "n1")
    with ServerProcess(*options, source=APP) as process:
        yield process
