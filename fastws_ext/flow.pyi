"""No Python interface: used by the other compiled modules only."""

class Flow:
    """What a connection has only while something is under way. Not made from Python."""
