"""How keys and channels are called in Redis.

Everything belongs to one of `PARTITIONS` partitions, whose number is the hash tag of its name (Redis cluster
specification, "Hash tags"): what is in one partition is in one slot of a cluster, and a script may use all of it. A
topic's partition is made of its name, a user's of its; neither name is ever a pattern.

    <prefix>:{17}:<kind>:<name>
"""

from __future__ import annotations

from typing import Final
from zlib import crc32

PARTITIONS: Final = 256
"""Fixed: processes of all versions have to agree on it."""

HOME: Final = 0
"""The partition of what the cluster of nodes has in common: leases, fencing numbers, announcements."""

# Kinds of keys. One or two letters, as there may be millions of them.
ERA: Final = b"era"
"""Hash of a partition: which life of which master its data belongs to; see `Script.needs_era`."""
META: Final = b"m"
"""Hash of a topic with history: epoch, offset, era, former epochs."""
HISTORY: Final = b"h"
"""Stream of a topic with history."""
KEY: Final = b"k"
"""A publication's key, with its result."""
CALL: Final = b"c"
"""Hash of a call of an operator: which process carries it out, or has, and what was answered."""
PRESENCE: Final = b"p"
"""Hash of a node and a topic: connection -> member."""
PRESENT_NODES: Final = b"pn"
"""Hash of a topic: node -> connections."""
PRESENT_USERS: Final = b"pu"
"""Hash of a topic: user -> connections."""
NODE_TOPICS: Final = b"nt"
"""Set of a node and partition: its topics of that partition that have presence."""
GONE: Final = b"gone"
"""Of a node and partition: its presence there was taken away, and it may not write any more."""
SESSIONS: Final = b"s"
"""Hash of a user: connection -> node, device, since."""
NODE_USERS: Final = b"nu"
"""Hash of a node and partition: its connections there -> since when, device, user."""
REPORTED: Final = b"nr"
"""Set of a node and partition: its connections there that others have reported as lost."""
LAST_SEEN: Final = b"ls"
"""When a user was here last."""
MAILBOX: Final = b"mb"
"""Stream of a node; its partition is made of the node's id."""
NODES: Final = b"nodes"
"""Hash in HOME: node id -> what it says of itself."""
ALIVE: Final = b"alive"
"""Hash in HOME: node id -> how often it has said that it is alive."""
BURIALS: Final = b"burials"
"""Hash in HOME: id of a dead node -> who takes away what it had, and how far that is."""
DEAD: Final = b"dead"
"""Sorted set in HOME: ids of nodes that others took for dead -> when, in seconds."""
HERE: Final = b"hn"
"""Set of a partition: ids of nodes that may have something in it."""
SWEEPER: Final = b"sweep"
"""In HOME: the node that looks for what is left of nodes that are in no list."""
ORDERS: Final = b"orders"
"""Stream in HOME: what all processes were ordered, for those that could not hear it."""
FENCE: Final = b"fence"
"""Counter in HOME: the fencing number of the next registration."""

# Kinds of channels.
TOPIC: Final = b"t"
ANNOUNCEMENTS: Final = b"all"
BELL: Final = b"bell"
"""Of a node: what is put into its mailbox is said here at once."""


def partition_of(name: str) -> int:
    """The partition of a topic, a user or a node."""
    return crc32(name.encode("utf-8", "surrogatepass")) % PARTITIONS


class Names:
    """The names under one prefix, as bytes."""

    def __init__(self, prefix: str) -> None:
        self._tags: Final = [f"{prefix}:{{{number}}}:".encode() for number in range(PARTITIONS)]

    def key(self, kind: bytes, partition: int, name: str = "") -> bytes:
        """The name of a key or channel of a partition."""
        return self._tags[partition] + kind + b":" + name.encode("utf-8", "surrogatepass")

    def of(self, kind: bytes, name: str) -> bytes:
        """The same in the partition of `name`."""
        return self.key(kind, partition_of(name), name)

    def node_key(self, kind: bytes, partition: int, node: str) -> bytes:
        """What a node has in a partition."""
        return self.key(kind, partition, node)
