"""Hostile clients against a real server: the stated answer, bounded memory and CPU, others unharmed."""
