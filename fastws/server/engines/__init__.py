"""Which engine the settings ask for, and the Redis that it needs.

A process that serves calls, in this order, `chosen`, `provided` around everything else, and `make_engine` in each
worker.
"""

from fastws.server.engines.making import (
    Made,
    check_redis,
    chosen,
    engine_line,
    lease_s,
    make_engine,
    provided,
    start_checks,
)

__all__ = ["Made", "check_redis", "chosen", "engine_line", "lease_s", "make_engine", "provided", "start_checks"]
