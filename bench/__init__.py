"""Benchmarks: `python -m bench --help`. See docs/performance.md for the method."""
