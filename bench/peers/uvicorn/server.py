"""Echo as a bare ASGI application under uvicorn, on uvloop and httptools: no compression, no access log."""

import socket
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

Event = dict[str, Any]


async def echo(scope: Event, receive: Callable[[], Awaitable[Event]], send: Callable[[Event], Awaitable[None]]) -> None:
    """Send back what comes."""
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        event["type"] = "websocket.send"
        await send(event)


def main() -> None:
    """Serve on any free port until the process is ended."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    config = uvicorn.Config(
        echo,
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",  # the fastest of its three
        ws_per_message_deflate=False,
        lifespan="off",
        access_log=False,
        log_level="error",
    )
    print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(config).run(sockets=[listener])


main()
