"""fastws: a WebSocket server for very many connections. `fastws-server --help` runs it, `FastWS` is its application."""

__version__ = "0.1.0"
