"""One room without a protocol: `fastws-server --app-dir examples chat:app`, clients at ws://127.0.0.1:8000/chat."""

from fastws import Connection, FastWS, HttpRequest

app = FastWS()
here: set[Connection] = set()


@app.raw("/chat")
async def chat(conn: Connection) -> None:
    """Pass every message on to everybody. The function runs as long as the connection does."""
    here.add(conn)
    try:
        async for message in conn:
            for other in here:
                other.send(message)
    finally:
        here.discard(conn)


@app.http("/here")
def count(request: HttpRequest) -> dict[str, int]:
    """Answer `curl http://127.0.0.1:8000/here`."""
    return {"here": len(here)}
