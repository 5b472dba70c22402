"""Sockets that fail, peers that do anything, handlers that do what they should not; at the end nothing may be left."""
