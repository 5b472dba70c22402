"""What applications ask of the running server: `await app.publish(...)` and its like end here."""

from __future__ import annotations

from typing import Any

from fastws import closes
from fastws.core.topics import Namespace, scoped
from fastws.engine.contract import Engine, Outgoing
from fastws.errors import TopicError, UsageError
from fastws.gateway.auth.access import Access
from fastws.gateway.data import pack
from fastws.hub.hub import Hub
from fastws.types import Published


class GatewayServices:
    """See `fastws.app.Services`. Permissions do not apply here; namespaces and sizes do."""

    def __init__(self, hub: Hub, engine: Engine, access: Access, *, max_data_size: int) -> None:
        """`max_data_size`: bytes of JSON, 0 = unlimited."""
        self._hub = hub
        self._engine = engine
        self._access = access
        self._max_data_size = max_data_size

    async def publish(
        self, topic: str, data: Any, *, key: str | None = None, exclude: Any = None, tenant: str = ""
    ) -> Published:
        namespace = self._access.namespace(topic)
        outgoing = Outgoing(
            topic=scoped(tenant, topic),
            data=self._packed(data, namespace),
            retention=namespace.retention,
            key=key,
            exclude=_id_of(exclude) if exclude is not None else "",
        )
        answer = self._engine.publish(outgoing)
        return answer if isinstance(answer, Published) else await answer

    async def broadcast(self, data: Any, *, tenant: str | None = None) -> None:  # noqa: ARG002
        answer = self._engine.announce(self._packed(data, None))
        if answer is not None:
            await answer

    async def disconnect(
        self,
        *,
        user: str | None = None,  # noqa: ARG002
        conn: Any = None,
        tenant: str | None = None,  # noqa: ARG002
        code: int = 4503,
        reason: str = "",
    ) -> int:
        if not 1000 <= code <= 4999 or code in closes.UNSENDABLE:
            raise UsageError(f"{code} cannot be sent as a close code", "use one of 1000 to 4999, such as 4503")
        found = self._hub.find(_id_of(conn))
        if found is None:
            return 0
        found.close(code, reason or closes.reason_of(code))
        return 1

    def _packed(self, data: Any, namespace: Namespace | None) -> bytes:
        packed = pack(data, namespace, of_client=False)
        if self._max_data_size and len(packed) > self._max_data_size:
            raise TopicError(closes.PAYLOAD_TOO_LARGE.code, f"data has at most {self._max_data_size} bytes of JSON")
        return packed


def _id_of(conn: Any) -> str:
    """The id of a connection, given itself or its id."""
    conn_id = conn if isinstance(conn, str) else getattr(conn, "id", None)
    if not isinstance(conn_id, str):
        raise UsageError(f"{conn!r} is no connection", "give a Connection or its id")
    return conn_id
