"""Prices that change faster than some clients can read: those get the newest of each, not every one.

    fastws-server --app-dir examples prices:app

Clients connect to ws://127.0.0.1:8000/ws and say {"id":1,"cmd":"sub","topic":"price:all"}; {"id":2,"cmd":"rpc",
"method":"prices"} answers all of them as they are now.
"""

import asyncio
import random
from typing import Any

from fastws import Connection, FastWS

PAUSE_S = 0.05

app = FastWS(
    namespaces={
        "price": {
            "subscribe": "all",
            "publish": "nobody",  # no client; the application may
            "slow_policy": "conflate",  # of what waits for a slow client, keep the newest ...
            "conflate_key": "symbol",  # ... for each value of data["symbol"]
        }
    }
)
prices = {"BTC": 100_000.0, "ETH": 4_000.0, "SOL": 200.0}
tasks: set[asyncio.Task[None]] = set()


async def tick() -> None:
    """Let the prices wander, one of them at a time."""
    while True:
        symbol = random.choice(list(prices))
        prices[symbol] = round(prices[symbol] * random.uniform(0.999, 1.001), 2)
        await app.publish("price:all", {"symbol": symbol, "price": prices[symbol]})
        await asyncio.sleep(PAUSE_S)


@app.rpc("prices")
def current(conn: Connection, data: Any) -> dict[str, float]:
    """Where everything stands, for a client that has just come."""
    return prices


@app.on_startup
async def start() -> None:
    """Keep a reference to the task: the loop holds only a weak one."""
    tasks.add(asyncio.create_task(tick()))


@app.on_shutdown
async def stop() -> None:
    """Stop what `start` began."""
    for task in tasks:
        task.cancel()
