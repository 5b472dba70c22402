"""What the gateway keeps of a connection, and how little it is."""

from __future__ import annotations

import asyncio
import sys

import pytest

from fastws.core.topics import Namespace
from fastws.gateway.session import Session
from fastws.hub.topic import Topic
from fastws_ext.loop_data import LoopData


def test_it_is_small() -> None:
    """A million of these exist: the object, and what the collector puts in front of it."""
    assert sys.getsizeof(Session()) <= 88
    assert not hasattr(Session(), "__dict__")


def test_a_stranger_is_nobody() -> None:
    session = Session()
    assert (session.user, session.tenant, session.device, session.subprotocol) == ("", "", "default", "")
    assert session.topics == ()
    assert not session.is_busy


@pytest.mark.asyncio
async def test_subscriptions() -> None:
    loop_data = LoopData(asyncio.get_running_loop())
    topics = [Topic(loop_data, name, name, Namespace()) for name in "abc"]
    session = Session()
    for count, topic in enumerate(topics, 1):
        session.note_subscribed(topic)
        assert session.subscription_count == count
    assert session.topics == ("a", "b", "c")
    session.note_unsubscribed(topics[1])
    assert session.topics == ("a", "c")
    session.note_unsubscribed(topics[0])
    session.note_unsubscribed(topics[2])
    assert session.topics == ()
    session.note_subscribed(topics[0])
    assert session.topics == ("a",)
    single = Session()
    single.note_subscribed(topics[0])
    assert single.subscribed is topics[0]
    single.note_unsubscribed(topics[0])
    assert (single.subscription_count, single.subscribed) == (0, None)


def test_work_is_made_when_there_is_some() -> None:
    session = Session()
    assert session.work is None
    assert session.need_work() is session.need_work() is session.work
