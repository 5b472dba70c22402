"""Letters to one process: each is read once, or it is known that some are lost; and nobody's mailbox grows for ever."""

from __future__ import annotations

import pytest

from fastws.engine.contract import Order
from fastws.engine.redis.fleet import mailbox as mailbox_module
from fastws.engine.redis.fleet.letters import letter_of
from fastws.errors import EngineError
from tests.engine.redis.fleet.nodes import LEASE_S, Members, mailbox_of, put
from tests.engine.suite.stand import until, until_async

pytestmark = pytest.mark.asyncio

EVERY = Order("count", attribute="user", data=b'"x"')


async def test_a_mailbox_that_was_trimmed_is_a_gap(members: Members, caplog: pytest.LogCaptureFixture) -> None:
    one, two = await members.some(2, LEASE_S)
    one.house.note_session("ann", "a-1", "web", 5)
    key, partition = mailbox_of(one)
    for number in range(10):
        await put(one, letter_of(EVERY, number, ""))
    await one.command("XTRIM", key, "MAXLEN", 2, partition=partition)
    await one.engine._post.mailbox.catch_up()
    assert one.engine._post.mailbox.gaps == 1
    assert "8 letters to this process were thrown away" in caplog.text
    assert len(one.house.orders) == 2
    await until_async(lambda: two.conns("ann"))
    await one.engine._post.mailbox.catch_up()
    await put(one, letter_of(EVERY, 77, ""), rings=True)
    await until(lambda: len(one.house.orders) == 3)
    assert one.engine._post.mailbox.gaps == 1


async def test_a_mailbox_that_lacks_its_newest_letters_gives_their_numbers_again(members: Members) -> None:
    one, two = await members.some(2)
    for number in range(5):
        await put(one, letter_of(EVERY, number, two.id), rings=True)
    await until(lambda: len(one.house.orders) == 5)
    key, partition = mailbox_of(one)
    await one.command("DEL", key, partition=partition)
    await one.command("XADD", key, "3-0", "0", letter_of(EVERY, 1, two.id), partition=partition)
    await put(one, letter_of(EVERY, 10, two.id))
    await one.engine._post.mailbox.catch_up()
    assert len(one.house.orders) == 6
    await put(one, letter_of(EVERY, 11, two.id), rings=True)
    await until(lambda: len(one.house.orders) == 7)
    assert one.engine._post.mailbox.gaps == 0


async def test_a_letter_that_comes_while_the_mailbox_is_read_is_not_left_for_later(members: Members) -> None:
    (one,) = await members.some(1)
    one.halt()
    mailbox = one.engine._post.mailbox
    read = mailbox._read_mailbox

    async def read_and_hear() -> None:
        """What is answered does not have it yet, and it is heard before that is known here."""
        mailbox._read_mailbox = read  # type: ignore[method-assign]
        last = mailbox._last
        await read()
        newest, mailbox._last = mailbox._last, last
        await put(one, letter_of(EVERY, 3, ""), rings=True)
        await until(lambda: mailbox._has_missed)
        mailbox._last = newest

    mailbox._read_mailbox = read_and_hear  # type: ignore[method-assign]
    await put(one, letter_of(EVERY, 1, ""))
    await put(one, letter_of(EVERY, 2, ""), rings=True)
    await until(lambda: len(one.house.orders) == 3)
    assert mailbox.gaps == 0


async def test_a_mailbox_does_not_grow(members: Members) -> None:
    one, two = await members.some(2)
    key, partition = mailbox_of(one)
    for number in range(1500):
        await put(one, letter_of(EVERY, number, two.id), rings=True)
    await until(lambda: len(one.house.orders) == 1500)
    assert await one.command("XLEN", key, partition=partition) < 500


async def test_what_was_put_into_the_mailbox_unheard_is_read_afterwards_once(members: Members) -> None:
    one, two = await members.some(2)
    first, second, third = (Order("push", user="ann", data=b"%d" % number) for number in range(3))
    await put(one, letter_of(first, 1, two.id))
    await put(one, letter_of(second, 2, two.id))
    assert one.house.orders == []
    await put(one, letter_of(third, 3, two.id), rings=True)
    await until(lambda: len(one.house.orders) == 3)
    assert one.house.orders == [first, second, third]
    for _ in range(3):
        await one.engine._post.mailbox.catch_up()
    await put(one, letter_of(first, 1, two.id), rings=True)
    await put(one, letter_of(first, 4, two.id), rings=True)
    await until(lambda: len(one.house.orders) == 4)
    assert one.house.orders == [first, second, third, first]


TOGETHER = 10  # letters that are on their way at once


@pytest.mark.parametrize("size", [100, 3000, 60_000])
async def test_a_mailbox_that_nobody_reads_is_bounded_in_bytes(
    members: Members, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(mailbox_module, "KEPT_BYTES", 300_000)
    one, two = await members.some(2)
    one.engine._common.listeners.clear()
    key, partition = mailbox_of(one)
    letter = letter_of(Order("push", user="ann", data=b'"%s"' % bytes(size)), 1, "")
    for _ in range(max(20, 2_000_000 // size) // TOGETHER):
        answers = [mailbox_module.mail(two.engine._common, one.id, letter) for _ in range(TOGETHER)]
        for answer in answers:
            assert answer is not None
            await answer
    used = await one.command("MEMORY", "USAGE", key, "SAMPLES", 0, partition=partition)
    assert used < 300_000 + 64 * 4096 + 2 * size
    assert await one.command("XLEN", key, partition=partition) >= 1
    await one.engine._post.mailbox.catch_up()
    assert one.engine._post.mailbox.gaps == 1


async def test_what_could_not_be_read_is_read_at_the_next_beat(members: Members) -> None:
    one, two = await members.some(2)
    mailbox = one.engine._post.mailbox
    read, failures = mailbox._read_mailbox, 1

    async def read_late() -> None:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise EngineError("away")
        await read()

    mailbox._read_mailbox = read_late  # type: ignore[method-assign]
    await put(one, letter_of(Order("push", data=b"1"), 1, two.id))
    await put(one, letter_of(Order("push", data=b"2"), 2, two.id), rings=True)
    await until(lambda: failures == 0)
    assert not mailbox.is_heard
    await one.engine._nodes._beat()
    assert [order.data for order in one.house.orders] == [b"1", b"2"]
    assert mailbox.is_heard


async def test_what_is_no_letter_is_left_out(members: Members) -> None:
    one, two = await members.some(2)
    key, partition = mailbox_of(one)
    for fields in (("a", "b"), ("1", "\xff"), ("x", letter_of(EVERY, 1, two.id)), ("1", "2", "3", "4")):
        await one.command("XADD", key, "*", *fields, partition=partition)
    await one.command("XTRIM", key, "MAXLEN", 3, partition=partition)
    await put(one, letter_of(EVERY, 1, two.id))
    await one.engine._post.mailbox.catch_up()
    assert len(one.house.orders) == 1
    assert one.engine._common.unreadable["letter"] == 3
