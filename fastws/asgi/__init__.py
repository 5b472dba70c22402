"""An application inside another: FastWS as an ASGI application, for Starlette, FastAPI and every ASGI server.

::

    from fastapi import FastAPI
    from fastws import FastWS
    from fastws.asgi import mount

    realtime = FastWS()
    mounted = mount(realtime, jwt_secret="...")
    api = FastAPI(lifespan=mounted.lifespan)
    api.mount("/realtime", mounted)      # the client protocol is at /realtime/ws

Handlers, limits, tokens and close codes are those of `fastws-server`. Sockets are the ASGI server's, and so is the
speed: this is for development and for moderate numbers of connections.
"""

from fastws.asgi.mounted import Mounted, mount

__all__ = ["Mounted", "mount"]
