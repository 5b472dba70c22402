"""Scenario 8: what is published at one node is heard at another, through one Redis."""
