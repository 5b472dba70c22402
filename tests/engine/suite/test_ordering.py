"""Orders reach the processes that they are for, are carried out once in each, and what came of them comes back."""

from __future__ import annotations

import pytest

from fastws.engine.contract import COUNT, DISCONNECT, PUSH, SUBSCRIBE, UNSUBSCRIBE, Order, Outcome
from tests.engine.suite.stand import Node, Stand, got, until_async

pytestmark = pytest.mark.asyncio

EVERYBODY = [
    Order(PUSH, data=b'{"a":1}', ts_ms=123),
    Order(PUSH, tenant="acme", data=b"1", ts_ms=5),
    Order(DISCONNECT, code=4503, reason="kicked"),
    Order(DISCONNECT, tenant="acme", code=4503, reason="kicked"),
    Order(COUNT, data=b'"gold"', attribute="tier"),
    Order(COUNT),
]
ONE_USER = [
    Order(DISCONNECT, user="ann", code=4503, reason="kicked"),
    Order(PUSH, user="ann", data=b"[]", ts_ms=9),
    Order(SUBSCRIBE, user="ann", topic="chat:é"),
    Order(UNSUBSCRIBE, user="ann", topic="chat:a"),
]


async def know(nodes: list[Node], user: str) -> None:
    """All of them see the sessions of this user."""
    for node in nodes:

        async def is_known(node: Node = node) -> bool:
            return len(await got(node.engine.sessions(user))) == sum(len(one.house.sessions_of(user)) for one in nodes)

        await until_async(is_known)


@pytest.mark.parametrize("order", EVERYBODY, ids=lambda order: f"{order.action}-{order.tenant}-{order.attribute}")
async def test_orders_for_everybody(stand: Stand, order: Order) -> None:
    nodes = await stand.some()
    for number, node in enumerate(nodes):
        node.house.answer = lambda _order, number=number: Outcome(number + 1)  # type: ignore[misc]
    expected = len(nodes) * (len(nodes) + 1) // 2
    assert await got(nodes[-1].engine.order(order)) == Outcome(expected)
    assert await got(nodes[0].engine.order(order)) == Outcome(expected)
    for node in nodes:
        assert node.house.orders == [order, order]


@pytest.mark.parametrize("tenant", [None, "acme"])
async def test_orders_for_one_connection_find_it(stand: Stand, tenant: str | None) -> None:
    nodes = await stand.some()
    order = Order(DISCONNECT, conn="c-1", tenant=tenant, code=4503, reason="kicked")
    for node in nodes[:-1]:
        node.house.answer = lambda _order: Outcome(0)
    for node in nodes:
        assert await got(node.engine.order(order)) == Outcome(1)
    assert nodes[-1].house.orders == [order] * len(nodes)


@pytest.mark.parametrize("order", ONE_USER, ids=lambda order: order.action)
async def test_orders_for_a_user_reach_the_processes_that_have_it(stand: Stand, order: Order) -> None:
    nodes = await stand.some()
    nodes[0].attach("ann", "c-1")
    nodes[-1].attach("ann", "c-2")
    await know(nodes, "ann")
    for node in nodes:
        node.house.answer = lambda order, house=node.house: Outcome(len(house.sessions_of(order.user)))  # type: ignore[misc]
    assert await got(nodes[0].engine.order(order)) == Outcome(2)
    assert nodes[0].house.orders == nodes[-1].house.orders == [order]


async def test_the_first_refusal_is_told(stand: Stand) -> None:
    nodes = await stand.some()
    for node in nodes:
        node.attach("ann", f"c-{node.house.name}")
    await know(nodes, "ann")
    nodes[-1].house.answer = lambda _order: Outcome(0, 103)
    outcome = await got(nodes[0].engine.order(Order(SUBSCRIBE, user="ann", topic="t")))
    assert outcome == Outcome(len(nodes) - 1, 103)


async def test_orders_of_one_caller_keep_their_order(stand: Stand) -> None:
    nodes = await stand.some(2)
    answers = [nodes[0].engine.order(Order(PUSH, data=b"%d" % number)) for number in range(30)]
    for answer in answers:
        await got(answer)
    for node in nodes:
        assert [order.data for order in node.house.orders] == [b"%d" % number for number in range(30)]


async def test_an_order_for_nobody(cluster: Stand) -> None:
    nodes = await cluster.pair()
    for node in nodes:
        node.house.answer = lambda _order: Outcome(0)
    push, disconnect = Order(PUSH, user="nobody", data=b"1"), Order(DISCONNECT, user="nobody", code=4503)
    assert await got(nodes[0].engine.order(push)) == Outcome(0)
    assert nodes[1].house.orders == [], "nobody is disturbed for nothing"
    assert await got(nodes[0].engine.order(disconnect)) == Outcome(0)
    assert nodes[1].house.orders == [disconnect], "somebody may have come there just now"
