"""Sockets: the HTTP stage of a connection, admission, connections as applications see them."""
