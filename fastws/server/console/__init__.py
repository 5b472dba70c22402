"""The interactive client of `fastws connect`: what is typed goes out as text frames, what arrives is printed.

`link` speaks WebSocket, `editor` edits the line on a terminal, `session` puts them together.
"""

from fastws.server.console.link import Target, read_header
from fastws.server.console.session import run

__all__ = ["Target", "read_header", "run"]
