"""Which engines the suite is shown by."""

from __future__ import annotations

import pytest

from tests.engine.suite.conftest import SERVERS, VALKEY


def test_valkey_is_one_of_them() -> None:
    if not VALKEY:
        pytest.skip("no valkey-server is installed")
    assert "valkey" in SERVERS
