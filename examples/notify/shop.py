"""A back end in any language tells its users something: plain HTTP to the control API, here from Python.

    cd examples/notify
    fastws-server                                                                  # reads fastws.toml
    fastws connect --token "$(fastws token --user 42)" ws://127.0.0.1:8000/ws      # user 42, in a second terminal
    python shop.py 42 "Your parcel is on its way"                                  # the back end, in a third

The control API listens on 127.0.0.1:9000 (`--admin-port`) and asks for no key there as long as none is set.
"""

import json
import os
import sys
import urllib.request
from typing import Any

ADMIN_URL = os.environ.get("ADMIN_URL", "http://127.0.0.1:9000")


def call(method: str, **fields: Any) -> Any:
    """Call the control API; the result.

    :raises urllib.error.HTTPError: it was refused; the body says why.
    """
    request = urllib.request.Request(  # noqa: S310 - the address is the operator's
        f"{ADMIN_URL}/api/{method}",
        json.dumps(fields).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return json.load(answer)["result"]


def notify(user: str, text: str) -> int:
    """Tell every connection of a user; how many there were."""
    reached: int = call("push", user=user, data={"text": text})["connections"]
    return reached


def announce(text: str) -> int | None:
    """Tell everybody who listens to the news, and those who come back within a day; the number of the news."""
    offset: int | None = call("publish", topic="news:shop", data={"text": text})["offset"]
    return offset


if __name__ == "__main__":
    print(f"reached {notify(sys.argv[1], sys.argv[2])} connections; news number {announce(sys.argv[2])}")
