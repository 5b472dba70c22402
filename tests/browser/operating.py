"""What an operator does to the server of a page."""

import json
import urllib.request
from typing import Any

from tests.support.server import ServerProcess


def call(server: ServerProcess, method: str, **fields: Any) -> Any:
    """The control API."""
    request = urllib.request.Request(
        f"{server.admin_url}/api/{method}", json.dumps(fields).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)["result"]
