"""Echo and fan-out on socketify, the binding of uWebSockets (C++): a Python callback for each message, no compression.

`/echo` answers each message with itself. Whoever connects to `/fanout` hears what comes in on `/publish`, through the
library's own topics. libuv's loop runs alone: `App.run` would poll it in turns with asyncio's, for applications with
coroutines, and with one message in flight that costs it a third of its messages.
"""

from socketify import App, AppListenOptions, CompressOptions, OpCode, WebSocket  # type: ignore[import-not-found]

TOPIC = "bench"
LARGEST_MESSAGE = 16 << 20

app = App(lifespan=False)


def echo(socket: WebSocket, message: str | bytes, opcode: OpCode) -> None:
    """Send back what comes."""
    socket.send(message, opcode)


def subscribe(socket: WebSocket) -> None:
    """After the upgrade of a subscriber."""
    socket.subscribe(TOPIC)


def publish(_: WebSocket, message: str | bytes, opcode: OpCode) -> None:
    """What a publisher says goes to all subscribers."""
    app.publish(TOPIC, message, opcode)


def ignore(_: WebSocket, message: str | bytes, opcode: OpCode) -> None:
    """What a subscriber says counts for nothing."""


def ready(options: AppListenOptions) -> None:
    """Called once the port is open."""
    print(f"listening on http://127.0.0.1:{options.port}", flush=True)


common = {"compression": CompressOptions.DISABLED, "max_payload_length": LARGEST_MESSAGE}
app.ws("/echo", {**common, "message": echo})
app.ws("/fanout", {**common, "open": subscribe, "message": ignore})
app.ws("/publish", {**common, "message": publish})
app.listen(AppListenOptions(port=0, host="127.0.0.1"), ready)
app.loop.uv_loop.run()
