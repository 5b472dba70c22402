"""A back end that publishes to the gateway's clients: `fastws-server --app-dir examples ticker:app`.

Clients connect to ws://127.0.0.1:8000/ws and say {"id":1,"cmd":"sub","topic":"price:BTC"}.
"""

import asyncio
import random

from fastws import FastWS

app = FastWS(namespaces={"price": {"subscribe": "all", "publish": "nobody", "history_size": 100, "history_ttl": 600}})
tasks: set[asyncio.Task[None]] = set()


async def tick() -> None:
    """Publish a price that wanders, five times a second."""
    price = 100_000.0
    while True:
        price *= 1 + random.uniform(-0.001, 0.001)
        await app.publish("price:BTC", {"symbol": "BTC", "price": round(price, 2)})
        await asyncio.sleep(0.2)


@app.on_startup
async def start() -> None:
    """Keep a reference to the task: the loop holds only a weak one."""
    tasks.add(asyncio.create_task(tick()))


@app.on_shutdown
async def stop() -> None:
    """Stop what `start` began."""
    for task in tasks:
        task.cancel()
