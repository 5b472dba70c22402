"""Writes docs/reference and docs/configuration.md from the code: `make docs`, or `python -m docs.generate`."""
