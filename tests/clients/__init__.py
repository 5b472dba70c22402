"""Clients that people really use, unchanged, against the real server."""
