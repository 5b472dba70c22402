"""An echo on the `websockets` library's asyncio server: no compression, no limits beside its defaults."""

import asyncio

from websockets.asyncio.server import ServerConnection, serve


async def echo(connection: ServerConnection) -> None:
    """Send back what comes."""
    async for message in connection:
        await connection.send(message)


async def main() -> None:
    """Serve on any free port until the process is ended."""
    async with serve(echo, "127.0.0.1", 0, compression=None, backlog=4096) as server:
        print(f"listening on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await server.serve_forever()


asyncio.run(main())
