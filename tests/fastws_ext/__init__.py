"""Tests of the compiled leaf: the connection suite over every kind of transport, and the rules of the reactor."""
