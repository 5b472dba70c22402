"""Workers of one node that crash."""
