"""Rooms with names, history and presence, and a page to talk in.

    FASTWS_JWT_SECRET=$(openssl rand -hex 32) fastws-server --app-dir examples/chat chat:app

Then open http://127.0.0.1:8000/ in two tabs. The page asks `/login` for a token, which says who it is to everybody.

It runs on several nodes as it is: start each with the same secret and the same `--redis redis://...`. The page comes
back to the address that it is from, so behind a load balancer (`deploy/haproxy`) it finds another node when its own is
gone.
"""

import os
import secrets
import time
from pathlib import Path
from typing import Any

import jwt

from fastws import Connection, FastWS, HttpRequest, HttpResponse, TopicError

MAX_NAME = 40
MAX_TEXT = 2000
TOKEN_LIFE_S = 3600
BAD_REQUEST = 107

app = FastWS(
    namespaces={
        "chat": {
            "history_size": 100,
            "history_ttl": "1h",
            "recover": True,
            "presence": True,
            "join_leave": True,
        }
    }
)
page = Path(__file__).with_name("chat.html").read_text(encoding="utf-8")


@app.http("/")
def index(request: HttpRequest) -> HttpResponse:
    """Answer with the page."""
    return HttpResponse(page, content_type="text/html; charset=utf-8")


@app.http("/login", methods=("POST",))
def login(request: HttpRequest) -> HttpResponse | dict[str, str]:
    """Give a name a token. A real application would ask for a password here."""
    try:
        name = str(request.json()["name"]).strip()
    except (ValueError, TypeError, LookupError):
        name = ""
    if not 0 < len(name) <= MAX_NAME:
        return HttpResponse({"message": f"a name has 1 to {MAX_NAME} characters"}, status=400)
    claims = {"sub": secrets.token_hex(8), "exp": int(time.time()) + TOKEN_LIFE_S, "info": {"name": name}}
    return {"token": jwt.encode(claims, os.environ["FASTWS_JWT_SECRET"], algorithm="HS256")}


@app.on_publish("chat:{room}")
def check(conn: Connection, data: Any, room: str) -> dict[str, str]:
    """Publish a text, under the name of the token: what a client says about itself is not asked."""
    text = data.get("text") if isinstance(data, dict) else None
    if not isinstance(text, str) or not 0 < len(text) <= MAX_TEXT:
        raise TopicError(BAD_REQUEST, f"a message has a text of 1 to {MAX_TEXT} characters")
    return {"name": conn.info["name"], "text": text}
