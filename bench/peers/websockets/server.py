"""Echo, fan-out and rooms on the asyncio server of `websockets`, under uvloop: its defaults, compression on demand.

`/echo` answers each message with itself. Whoever connects to `/fanout` hears what comes in on `/publish`, through the
library's own `broadcast`. Members of `/rooms/NAME` hear each other in the same way.
"""

import argparse
import ssl
from contextlib import suppress

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

subscribers: set[ServerConnection] = set()
rooms: dict[str, set[ServerConnection]] = {}


async def handle(connection: ServerConnection) -> None:
    """Do what the path says until the client leaves."""
    path = connection.request.path if connection.request else ""
    if path == "/fanout":
        subscribers.add(connection)
        try:
            await connection.wait_closed()
        finally:
            subscribers.remove(connection)
    elif path == "/publish":
        async for message in connection:
            broadcast(subscribers, message)
    elif path.startswith("/rooms/"):
        await converse(path, connection)
    else:
        with suppress(ConnectionClosed):  # it may close while a reply is on its way
            async for message in connection:
                await connection.send(message)


async def converse(name: str, connection: ServerConnection) -> None:
    """Tell the room what this member says."""
    members = rooms.setdefault(name, set())
    members.add(connection)
    try:
        async for message in connection:
            broadcast(members, message)
    finally:
        members.remove(connection)
        if not members and rooms.get(name) is members:
            del rooms[name]


async def main() -> None:
    """Serve on any free port until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--deflate", action="store_const", const="deflate")
    parser.add_argument("--tls", nargs=2, metavar=("CERTIFICATE", "KEY"))
    options = parser.parse_args()
    context = None
    if options.tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*options.tls)
    async with serve(handle, "127.0.0.1", 0, compression=options.deflate, ssl=context, backlog=4096) as server:
        print(f"listening on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await server.serve_forever()


uvloop.run(main())
