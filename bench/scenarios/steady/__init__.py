"""Scenarios whose publications are on a fixed schedule."""
