"""Every message comes back: `fastws-server --app-dir examples echo:app`, then `fastws connect ws://127.0.0.1:8000/echo`."""

from fastws import Connection, FastWS

app = FastWS()


@app.raw("/echo")
def echo(conn: Connection, message: str | bytes) -> None:
    """Send back what came: text as text, bytes as binary. A plain function is the fastest shape of a handler."""
    conn.send(message)
