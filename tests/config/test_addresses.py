"""Which addresses only this machine can reach, and how they are written."""

import pytest

from fastws.config.addresses import as_url, is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "192.0.2.1", "no-such-host.invalid", "a" * 300, "\udc80"])
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_urls() -> None:
    assert as_url("127.0.0.1", 80) == "http://127.0.0.1:80"
    assert as_url("::1", 443, "https") == "https://[::1]:443"
