"""A plugin of pytest: what is started as `fastws-server` is served by uvicorn instead, mounted in Starlette."""

import tests.support.server
from tests.asgi.uvicorn_process import MountedProcess

tests.support.server.ServerProcess = MountedProcess  # type: ignore[misc]
