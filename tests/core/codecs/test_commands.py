"""The commands, as the contract of the protocol lists them."""

from fastws.core.codecs.commands import NAMES, NOT_BUILT


def test_every_command_of_the_protocol_is_known() -> None:
    known = {"auth", "refresh", "sub", "unsub", "pub", "presence", "presence_stats", "history", "status", "send"}
    known |= {"ack", "read", "sync", "rpc", "heartbeat", "ping"}
    assert set(NAMES.values()) | NOT_BUILT == known
    assert not set(NAMES.values()) & NOT_BUILT
