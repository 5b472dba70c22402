"""Echo and fan-out on the core API of picows, under uvloop: a callback for each frame, no fragments put together.

`/echo` answers each frame with itself, without a Python object for its payload. Whoever connects to `/fanout` hears
what comes in on `/publish`: one `send` for each, since the library has no broadcast of its own.
"""

import uvloop
from picows import (  # type: ignore[import-not-found]
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_create_server,
)

subscribers: set[WSTransport] = set()
CLOSE = WSMsgType.CLOSE


class Echo(WSListener):  # type: ignore[misc]
    """Sends back what comes."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Called for each frame; the library answers pings itself."""
        if frame.msg_type == CLOSE:
            close(transport, frame)
        else:
            transport.send(frame.msg_type, frame.get_payload_as_memoryview())


class Subscriber(WSListener):  # type: ignore[misc]
    """Hears every publication, and says nothing that counts."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        """After the upgrade."""
        subscribers.add(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Only closing matters."""
        if frame.msg_type == CLOSE:
            close(transport, frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """However the connection ended."""
        subscribers.discard(transport)


class Publisher(WSListener):  # type: ignore[misc]
    """What it says goes to all subscribers."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Called for each frame."""
        kind = frame.msg_type
        if kind == CLOSE:
            close(transport, frame)
            return
        payload = frame.get_payload_as_memoryview()
        for subscriber in subscribers:
            subscriber.send(kind, payload)


def close(transport: WSTransport, frame: WSFrame) -> None:
    """Answer the client's close."""
    transport.send_close(frame.get_close_code(), frame.get_close_message())
    transport.disconnect()


LISTENERS = {b"/fanout": Subscriber, b"/publish": Publisher}


def listener_for(request: WSUpgradeRequest) -> WSListener:
    """The listener of a new connection."""
    return LISTENERS.get(request.path, Echo)()


async def main() -> None:
    """Serve on any free port until the process is ended."""
    server = await ws_create_server(listener_for, "127.0.0.1", 0, backlog=4096)
    print(f"listening on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


uvloop.run(main())
