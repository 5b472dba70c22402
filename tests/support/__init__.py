"""Helpers that many tests share: a real server process, a client that may say anything, waiting for a condition."""
