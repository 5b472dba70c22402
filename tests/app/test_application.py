"""The application object itself."""

from __future__ import annotations

from typing import Any

import pytest

from fastws import FastWS, UsageError
from fastws.app import Tenant
from tests.gateway.stage import staged

pytestmark = pytest.mark.asyncio


async def test_nothing_is_registered_while_a_server_runs() -> None:
    app = FastWS()
    async with staged(app):
        for decorator in (app.on_connect, app.use, app.rpc("m"), app.can_subscribe("t"), app.on_subscribe("t")):
            with pytest.raises(UsageError, match="too late"):
                decorator(lambda *arguments: None)
    app.on_connect(lambda conn: None)


async def test_services_work_in_background_tasks_while_it_runs() -> None:
    app = FastWS()
    async with staged(app):
        assert (await app.publish("t", 1)).offset == 1
    with pytest.raises(UsageError, match="needs a running server"):
        await app.publish("t", 1)


async def test_tenants() -> None:
    app = FastWS()
    assert isinstance(app.tenant("acme"), Tenant)
    wrong: list[Any] = ["", "a\0b", None, 5]
    for name in wrong:
        with pytest.raises(UsageError, match="no tenant"):
            app.tenant(name)
