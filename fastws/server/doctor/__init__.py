"""`fastws doctor`: what this machine, and the Redis behind it, allow, and what caps it."""

from fastws.server.doctor.machine import read_limits
from fastws.server.doctor.redis import examine
from fastws.server.doctor.report import diagnose, lines_of

__all__ = ["diagnose", "examine", "lines_of", "read_limits"]
