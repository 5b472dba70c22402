"""A REST API whose changes reach everybody who looks on: FastWS inside FastAPI, in one process.

    pip install fastapi uvicorn
    uvicorn --app-dir examples fastapi_mount:api

Clients connect to ws://127.0.0.1:8000/realtime/ws and say {"id":1,"cmd":"sub","topic":"todo:all"}. They hear of what
`curl -X POST 'http://127.0.0.1:8000/todos?text=milk'` adds; http://127.0.0.1:8000/docs shows the API.
"""

from fastapi import FastAPI

from fastws import Connection, FastWS
from fastws.asgi import mount

realtime = FastWS(
    namespaces={
        "todo": {"subscribe": "all", "publish": "nobody", "history_size": 100, "history_ttl": "1h", "recover": True}
    }
)
mounted = mount(realtime, anonymous=True)

# The lifespan starts what is mounted, so that publishing works before the first client is there.
api = FastAPI(title="Todos", lifespan=mounted.lifespan)
api.mount("/realtime", mounted)
todos: dict[int, str] = {}


@api.get("/todos")
async def everything() -> dict[int, str]:
    """List what is to be done, by number."""
    return todos


@api.post("/todos")
async def add(text: str) -> dict[str, int]:
    """Add something, and tell everybody who listens."""
    number = len(todos) + 1
    todos[number] = text
    await realtime.publish("todo:all", {"added": number, "text": text})
    return {"number": number}


@realtime.rpc("todos")
def current(conn: Connection, data: object) -> dict[str, str]:
    """Everything at once, for a client that has just come."""
    return {str(number): text for number, text in todos.items()}
