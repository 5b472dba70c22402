"""What Autobahn's fuzzing client talks to: every message comes back as it was."""

from fastws import Connection, FastWS

app = FastWS()


@app.raw("/echo")
def echo(conn: Connection, message: str | bytes) -> None:
    """Send the message back."""
    conn.send(message)
