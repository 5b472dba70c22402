"""A raw echo: one Python call for each message, nothing else."""

from fastws import Connection, FastWS

app = FastWS()


@app.raw("/echo")
def echo(conn: Connection, message: str | bytes) -> None:
    """Send back what came."""
    conn.send(message)
