"""Keys and channels, read by tests."""

from __future__ import annotations


def name_in(key: bytes) -> str:
    """The name in a key or channel that `Names` has made."""
    return key.partition(b"}:")[2].partition(b":")[2].decode("utf-8", "surrogatepass")
