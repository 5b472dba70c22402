"""Which engine the settings ask for, and the Redis that it needs."""

from fastws.server.engines.making import lease_s, make_engine

__all__ = ["lease_s", "make_engine"]
