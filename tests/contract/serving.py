"""The application that the tests of codes talk to, and tokens for it."""

from __future__ import annotations

import time
from typing import Any

import jwt

SECRET = "a secret of the tests, and long enough for HS256"

NAMESPACES = """
FastWS(namespaces={
    "open": dict(subscribe="all", publish="all", history_size=5, recover=True, presence=True, join_leave=True),
    "plain": dict(subscribe="all", publish="all"),
    "members": dict(),
    "small": dict(subscribe="all", max_subscribers=1),
    "closed": dict(subscribe="nobody", publish="nobody"),
    "token": dict(subscribe="token", publish="token"),
})
"""

APP = f"""
from fastws import FastWS, Reject, TopicError
from fastws.errors import EngineError

app = {NAMESPACES.strip()}

@app.on_connect
def connect(conn):
    asked = conn.query.get("connect")
    if asked == "fail":
        raise RuntimeError("secret")
    if asked:
        raise Reject(int(asked))

@app.rpc("echo")
def echo(conn, data):
    return data

@app.rpc("raise")
def fail(conn, data):
    if data == "engine":
        raise EngineError("secret")
    if isinstance(data, int):
        raise TopicError(data, "as asked")
    raise RuntimeError("secret")

@app.rpc("close")
async def close(conn, data):
    await app.disconnect(conn=conn, **data)

@app.rpc("announce")
async def announce(conn, data):
    await app.broadcast(data)

@app.rpc("publish")
async def publish(conn, data):
    return (await app.publish(data["topic"], data["data"] * data.get("times", 1))).offset

@app.rpc("subscribe")
async def subscribe(conn, data):
    return await app.subscribe(data["user"], data["topic"])

@app.rpc("unsubscribe")
async def unsubscribe(conn, data):
    return await app.unsubscribe(data["user"], data["topic"])

@app.raw("/echo")
def raw(conn, message):
    conn.send(message)
"""


def token(user: str = "42", *, ttl_s: float | None = None, **claims: Any) -> str:
    """A token for a user; `ttl_s` seconds long, below 0 for one that has expired."""
    if user:
        claims["sub"] = user
    if ttl_s is not None:
        claims["exp"] = int(time.time() + ttl_s)
    return jwt.encode(claims, SECRET, algorithm="HS256")
