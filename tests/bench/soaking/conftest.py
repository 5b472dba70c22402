"""One server of the application under load for all tests of a worker."""

from collections.abc import Iterator

import pytest

from bench import servers
from bench.scenarios.bystander import APP


@pytest.fixture(scope="session")
def server() -> Iterator[servers.Server]:
    """The last of its options lets slow readers be closed soon."""
    with servers.fastws(APP, "--max-outbox", "65536", "--handshake-timeout", "0.5") as running:
        yield running
